"""Chains, groups and chords (Celery's guide: Canvas), callbacks and retries (Calling, Tasks)."""

import pytest
from celery import chain, chord, group
from celery.canvas import chunks, xmap, xstarmap

from tests.celery.conftest import SECONDS, Judged
from tests.support.until import until


def test_a_task_runs_and_its_result_is_read(judged: Judged) -> None:
    assert judged.s("add", 2, 3).delay().get(SECONDS) == 5


def test_a_chain_passes_results_on(judged: Judged) -> None:
    result = chain(judged.s("add", 1, 2), judged.s("add", 10), judged.s("add", 100)).delay()
    assert result.get(SECONDS) == 113
    assert result.parent.get(SECONDS) == 13


def test_an_immutable_link_takes_nothing(judged: Judged) -> None:
    assert (judged.s("add", 1, 2) | judged.s("add", 5, 5).set(immutable=True)).delay().get(
        SECONDS
    ) == 10


def test_a_group_answers_in_order(judged: Judged) -> None:
    assert group(judged.s("add", n, n) for n in range(20)).delay().get(SECONDS) == [
        2 * n for n in range(20)
    ]


def test_a_chord_runs_its_body_once_after_all(judged: Judged) -> None:
    result = chord([judged.s("add", n, 1) for n in range(10)])(judged.s("total"))
    assert result.get(SECONDS) == 55


def test_a_chord_within_a_chain_within_a_group(judged: Judged) -> None:
    inner = chain(judged.s("add", 1, 1), group(judged.s("add", n) for n in range(3)))
    outer = group(inner | judged.s("total"), judged.s("add", 4, 4))
    assert outer.delay().get(SECONDS) == [9, 8]


def test_a_failing_member_fails_the_chord(judged: Judged) -> None:
    result = chord([judged.s("add", 1, 1), judged.s("fail", "bad")])(judged.s("total"))
    with pytest.raises(ValueError, match="bad"):
        result.get(SECONDS)


def test_map_starmap_and_chunks(judged: Judged) -> None:
    app = judged.app
    assert xmap(judged.s("total"), [[1, 2], [3, 4]], app=app).delay().get(SECONDS) == [3, 7]
    assert xstarmap(judged.s("add"), [(1, 2), (3, 4)], app=app).delay().get(SECONDS) == [3, 7]
    parts = chunks(judged.s("add"), [(n, n) for n in range(6)], 2, app=app)
    assert parts.group().delay().get(SECONDS) == [[0, 2], [4, 6], [8, 10]]


def test_callbacks_and_errbacks_are_called(judged: Judged) -> None:
    judged.s("add", 2, 2).apply_async(link=judged.s("note"))
    failed = judged.s("fail").apply_async(link_error=judged.s("errback"))
    until(lambda: judged.server.llen("notes") == 2)
    assert sorted(judged.notes()) == ["4", "no"]
    assert failed.state == "FAILURE"


def test_a_task_may_be_replaced_by_a_chain(judged: Judged) -> None:
    assert judged.s("grow", 5).delay().get(SECONDS) == 16


def test_a_task_retries_itself(judged: Judged) -> None:
    assert judged.s("succeed_at", 2).delay().get(SECONDS) == 2
    assert judged.notes() == ["0", "1", "2"]


def test_a_task_that_retries_too_often_fails(judged: Judged) -> None:
    with pytest.raises(Exception, match="retry"):
        judged.s("succeed_at", 9).delay().get(SECONDS)
    assert judged.notes() == ["0", "1", "2", "3"]


def test_celery_retries_by_itself(judged: Judged) -> None:
    assert judged.s("retried").delay().get(SECONDS) == 1


def test_a_result_that_nobody_wants_is_not_stored(judged: Judged) -> None:
    ignored = judged.s("add", 1, 1).apply_async(ignore_result=True)
    judged.s("note", "after").delay().get(SECONDS)
    assert not judged.server.exists(f"celery-task-meta-{ignored.id}")


def test_a_result_that_is_forgotten_is_gone(judged: Judged) -> None:
    result = judged.s("add", 1, 1).delay()
    assert result.get(SECONDS) == 2
    result.forget()
    assert not judged.server.exists(f"celery-task-meta-{result.id}")
