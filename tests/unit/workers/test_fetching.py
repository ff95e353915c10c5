"""Beside the line, so many jobs are fetched for at once, and no place holds up the others."""

import threading
import weakref
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from stoker_workers.engine.fetching import Errand, Fetching
from tests.support.until import until


class Network:
    """Hosts of which those in `slow` answer only when they are let."""

    def __init__(self, *slow: str) -> None:
        self.slow = {host: threading.Event() for host in slow}
        self.asked: list[str] = []

    def at(self, host: str) -> Errand:
        return Errand(host, partial(self._ask, host))

    def _ask(self, host: str) -> str:
        self.asked.append(host)
        if host in self.slow:
            assert self.slow[host].wait(20)
        if host == "broken":
            raise OSError("it fails")
        return host


def test_a_slow_host_holds_up_its_own_jobs_only() -> None:
    network = Network("slow")
    fetching = Fetching(threads=4, a_place=2)

    slow = [fetching.get(network.at("slow")) for _ in range(20)]
    until(lambda: network.asked.count("slow") == 2)
    for _ in range(10):
        assert fetching.get(network.at("quick")).result(20) == "quick"
        fetching.release()

    assert network.asked.count("slow") == 2
    assert not any(each.done() for each in slow)
    network.slow["slow"].set()
    for each in slow:
        assert each.result(20) == "slow"
        fetching.release()
    fetching.stop()


def are_done(futures: Sequence["Future[Any]"], count: int) -> bool:
    return sum(each.done() for each in futures) == count


def test_no_more_jobs_are_fetched_for_than_may_hold_their_files() -> None:
    network = Network()
    fetching = Fetching(threads=3, a_place=3)

    futures = [fetching.get(network.at(f"h{at}")) for at in range(9)]
    for done in range(3, 12):
        until(partial(are_done, futures, min(9, done)))
        fetching.release()

    assert len(network.asked) == 9
    fetching.stop()


def test_a_failure_is_the_jobs_own() -> None:
    network, fetching = Network(), Fetching(threads=1, a_place=1)

    broken, fine = fetching.get(network.at("broken")), fetching.get(network.at("fine"))
    with pytest.raises(OSError, match="it fails"):
        broken.result(20)
    fetching.release()

    assert fine.result(20)
    fetching.stop()


def test_after_its_end_it_begins_nothing() -> None:
    network = Network("slow")
    fetching = Fetching(threads=1, a_place=1)
    first, second = (fetching.get(network.at("slow")) for _ in range(2))
    until(lambda: network.asked)

    fetching.stop()
    network.slow["slow"].set()

    assert first.result(20)
    fetching.release()
    assert not second.done()
    assert network.asked == ["slow"]


def test_its_end_comes_when_nothing_is_fetched_though_others_waited_for_the_place() -> None:
    network = Network("slow")
    fetching = Fetching(threads=2, a_place=1)
    first, second = (fetching.get(network.at("slow")) for _ in range(2))
    until(lambda: network.asked)

    fetching.stop()
    assert not fetching.join(0.1)
    network.slow["slow"].set()

    assert fetching.join(5)
    assert first.done()
    assert not second.done()


def test_a_place_may_be_given_more_room() -> None:
    network = Network("store", "slow")
    fetching = Fetching(threads=6, a_place=1, wide={"store": 3})

    for _ in range(9):
        fetching.get(network.at("store"))
        fetching.get(network.at("slow"))
    until(lambda: len(network.asked) == 4)

    assert fetching.get(network.at("quick")).result(20) == "quick"
    assert Counter(network.asked) == {"store": 3, "slow": 1, "quick": 1}
    fetching.stop()
    for each in network.slow.values():
        each.set()


def test_a_thread_that_waits_keeps_nothing_of_its_last_job() -> None:
    class Files:
        pass

    fetching = Fetching(threads=1, a_place=1)
    future = fetching.get(Errand("host", Files))
    held = weakref.ref(future.result(20))
    fetching.release()
    del future

    until(lambda: held() is None)
    fetching.stop()


def test_a_thread_that_cannot_be_started_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    network, fetching = Network(), Fetching(threads=1, a_place=1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            fetching.get(network.at("never"))

    assert fetching.get(network.at("next")).result(20) == "next"
    assert network.asked == ["next"]
    fetching.stop()
