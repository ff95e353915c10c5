"""When and how often a message is delivered: eta, expiry, rejects, priorities, prefetch, death."""

import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
from celery.exceptions import TaskRevokedError

from tests.celery.conftest import SECONDS, Judged
from tests.support.until import until

PREFETCH = ("--prefetch-multiplier",)


def test_a_countdown_delays(judged: Judged) -> None:
    began = time.time()
    assert judged.s("add", 1, 1).apply_async(countdown=1).get(SECONDS) == 2
    assert time.time() - began >= 1


def test_an_eta_delays_and_later_messages_pass(judged: Judged) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=4)
    late = judged.s("note", "late").apply_async(eta=eta)
    judged.s("note", "soon").delay().get(SECONDS)
    late.get(SECONDS)
    assert judged.notes() == ["soon", "late"]


def test_what_has_expired_never_runs(judged: Judged) -> None:
    expired = judged.s("note", "x").apply_async(expires=datetime.now(UTC) - timedelta(seconds=5))
    with pytest.raises(TaskRevokedError):
        expired.get(SECONDS)
    assert judged.notes() == []


def test_what_is_rejected_is_delivered_again_if_it_is_to_be(judged: Judged) -> None:
    assert judged.s("reject_once", True).delay().get(SECONDS) == "taken"
    gone = judged.s("reject_once", False).delay()
    judged.s("add", 1, 1).delay().get(SECONDS)
    until(lambda: not judged.held(gone.id))
    assert gone.state == "FAILURE"


def test_a_message_carries_its_priority_and_headers(judged: Judged) -> None:
    told = judged.s("about").apply_async(priority=3, headers={"trace": "t1"}).get(SECONDS)
    assert (told["priority"], told["retries"]) == (3, 0)
    assert not told["redelivered"]
    assert told["headers"]["trace"] == "t1"


def test_priorities_are_honoured(judged: Judged) -> None:
    with judged.start("one", "-P", "threads", "-c", "1", "-Q", "ordered", *PREFETCH, "1"):
        held = judged.s("hold", "held").apply_async(queue="ordered")
        until(lambda: held.state == "STARTED")
        judged.s("note", "ahead").apply_async(queue="ordered", priority=9)  # prefetched
        until(lambda: not judged.server.llen("ordered\x06\x169"))
        for word, priority in (("low", 9), ("normal", 6), ("high", 0), ("middle", 3)):
            last = judged.s("note", word).apply_async(queue="ordered", priority=priority)
        judged.let_go()
        until(lambda: judged.server.llen("notes") == 6, SECONDS)
        last.get(SECONDS)
    assert judged.notes() == ["held", "ahead", "high", "middle", "normal", "low"]


def test_prefetch_takes_as_many_as_it_says(judged: Judged) -> None:
    with judged.start("three", "-P", "threads", "-c", "1", "-Q", "counted", *PREFETCH, "3"):
        held = judged.s("hold").apply_async(queue="counted")
        until(lambda: held.state == "STARTED")
        results = [judged.s("add", n, n).apply_async(queue="counted") for n in range(10)]
        # The one that runs is acknowledged early, and counts no more.
        until(lambda: judged.server.llen("counted") == 7)
        judged.let_go()
        assert [each.get(SECONDS) for each in results] == [2 * n for n in range(10)]


def test_what_a_killed_worker_held_late_runs_again(judged: Judged) -> None:
    arguments = ("-P", "threads", "-c", "1", "-Q", "late", *PREFETCH, "1")
    with judged.start("dying", *arguments) as dying:
        held = judged.s("nap_late", 60, "held").apply_async(queue="late")
        until(judged.notes)
        dying.send_signal(signal.SIGKILL)
        dying.wait()
    [tag] = [tag for tag, each in judged.server.hgetall("unacked").items() if held.id in each]
    # Kombu's timeout is an hour, and the lease of an app that sets none a minute: let it lapse.
    judged.server.zadd("unacked_index", {tag: 1})
    with judged.start("heir", *arguments):
        until(judged.notes, SECONDS)


def test_a_warm_shutdown_finishes_and_gives_back(judged: Judged) -> None:
    arguments = ("-P", "threads", "-c", "1", "-Q", "closing", *PREFETCH, "4")
    with judged.start("closing", *arguments) as closing:
        held = judged.s("nap", 1.0, "held").apply_async(queue="closing")
        until(lambda: held.state == "STARTED")
        waiting = [judged.s("add", n, n).apply_async(queue="closing") for n in range(6)]
        closing.send_signal(signal.SIGTERM)
        assert closing.wait(SECONDS) == 0
    assert held.get(1) == "held"
    with judged.start("next", *arguments):
        assert [each.get(SECONDS) for each in waiting] == [2 * n for n in range(6)]


def test_a_prefork_pool_takes_messages_too(judged: Judged) -> None:
    with judged.start("forked", "-P", "prefork", "-c", "2", "-Q", "forked"):
        results = [judged.s("add", n, n).apply_async(queue="forked") for n in range(30)]
        assert [each.get(SECONDS) for each in results] == [2 * n for n in range(30)]
