"""Revoking and remote control (Celery's guide: Workers)."""

from contextlib import suppress
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError

from tests.celery import tasks
from tests.celery.conftest import SECONDS, Judged
from tests.support.until import until


def test_a_revoked_task_never_runs(judged: Judged) -> None:
    waiting = judged.s("note", "no").apply_async(countdown=4)
    until(lambda: any(judged.inspect.scheduled().values()))
    judged.ask("revoke", waiting.id)
    with pytest.raises(TaskRevokedError):
        waiting.get(SECONDS)
    assert judged.notes() == []


def test_tasks_are_revoked_by_a_stamped_header(judged: Judged) -> None:
    waiting = judged.s("note", "no")
    waiting.stamp(order="o1")
    result = waiting.apply_async(countdown=4)
    until(lambda: any(judged.inspect.scheduled().values()))
    judged.ask("revoke_by_stamped_headers", {"order": "o1"})
    with pytest.raises(TaskRevokedError):
        result.get(SECONDS)


def test_inspect_tells_what_runs_waits_and_is_known(judged: Judged) -> None:
    running = judged.s("hold", "x").delay()
    later = judged.s("note", "x").apply_async(countdown=60)
    until(lambda: running.state == "STARTED")
    until(lambda: any(judged.inspect.scheduled().values()))

    [active] = judged.inspect.active()[judged.name]
    [scheduled] = judged.inspect.scheduled()[judged.name]
    assert active["id"] == running.id
    assert scheduled["request"]["id"] == later.id
    assert f"{tasks.__name__}.add" in judged.inspect.registered()[judged.name]
    assert judged.inspect.active_queues()[judged.name][0]["name"] == "judged"
    assert judged.inspect.stats()[judged.name]["pool"]["max-concurrency"] == 4
    assert judged.inspect.query_task(running.id)[judged.name][running.id][0] == "active"
    judged.let_go()
    assert running.get(SECONDS) == "x"
    judged.ask("revoke", later.id)


def test_ping_conf_and_clock_answer(judged: Judged) -> None:
    assert judged.inspect.ping() == {judged.name: {"ok": "pong"}}
    assert judged.inspect.conf()[judged.name]["task_default_queue"] == "judged"
    assert judged.inspect.clock()[judged.name]["clock"] > 0


def test_a_rate_limit_holds_tasks_back(judged: Judged) -> None:
    name = f"{tasks.__name__}.add"
    assert "ok" in judged.ask("rate_limit", name, "2/s")[0][judged.name]
    try:
        results = [judged.s("add", n, 0).delay() for n in range(4)]
        assert sorted(each.get(SECONDS) for each in results) == [0, 1, 2, 3]
        ended = sorted(each.date_done for each in results)
        assert (ended[-1] - ended[0]).total_seconds() >= 0.5
    finally:
        judged.ask("rate_limit", name, "0")


def test_queues_are_added_and_left(judged: Judged) -> None:
    result = judged.s("add", 1, 1).apply_async(queue="extra")
    judged.ask("add_consumer", "extra")
    assert result.get(SECONDS) == 2
    judged.ask("cancel_consumer", "extra")
    left = judged.s("add", 1, 1).apply_async(queue="extra")
    judged.s("add", 1, 1).delay().get(SECONDS)
    assert not left.ready()
    assert judged.server.llen("extra") == 1


def test_a_worker_is_shut_down_from_afar(judged: Judged) -> None:
    with judged.start("far", "-P", "solo", "-Q", "far") as far:
        judged.app.control.shutdown(destination=["far@judge"])
        assert far.wait(SECONDS) == 0


def test_events_tell_of_each_task(judged: Judged) -> None:
    heard: list[str] = []
    with judged.app.connection_for_read() as given:
        receiver = judged.app.events.Receiver(
            given, handlers={"task-succeeded": lambda event: heard.append(event["uuid"])}
        )
        with (
            judged.start("told", "-P", "solo", "-Q", "told", "-E"),
            receiver.consumer_context() as (connection, _, _),
        ):
            _drained(connection, heard)  # kombu subscribes when it first waits
            result = judged.s("add", 1, 1).apply_async(queue="told")
            until(lambda: result.id in _drained(connection, heard), SECONDS)


def _drained(connection: Any, heard: list[str]) -> list[str]:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.2)
    return heard
