"""Beside the line, so many jobs are fetched for at once, and no host holds up the others."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from stoker_workers.engine.fetching import Fetching
from tests.support.until import until


class Network:
    """Hosts of which those in `slow` answer only when they are let."""

    def __init__(self, *slow: str) -> None:
        self.slow = {host: threading.Event() for host in slow}
        self.asked: list[str] = []

    def __call__(self, urls: Sequence[str]) -> Mapping[str, bytes]:
        host = urls[0].split("/")[2]
        self.asked.append(host)
        if host in self.slow:
            assert self.slow[host].wait(20)
        if host == "broken":
            raise OSError("it fails")
        return dict.fromkeys(urls, host.encode())


def test_a_slow_host_holds_up_its_own_jobs_only() -> None:
    network = Network("slow")
    fetching = Fetching(network, threads=4, a_host=2)

    slow = [fetching.get(["http://slow/1"]) for _ in range(20)]
    for _ in range(10):
        quick = fetching.get(["http://quick/1", "http://slow/1"])
        assert quick.result(20)["http://quick/1"] == b"quick"
        fetching.release()

    assert network.asked.count("slow") == 2
    assert not any(each.done() for each in slow)
    network.slow["slow"].set()
    for each in slow:
        assert each.result(20) == {"http://slow/1": b"slow"}
        fetching.release()
    fetching.stop()


def are_done(futures: Sequence["Future[Any]"], count: int) -> bool:
    return sum(each.done() for each in futures) == count


def test_no_more_jobs_are_fetched_for_than_may_hold_their_files() -> None:
    network = Network()
    fetching = Fetching(network, threads=3, a_host=3)

    futures = [fetching.get([f"http://h{at}/"]) for at in range(9)]
    for done in range(3, 12):
        until(partial(are_done, futures, min(9, done)))
        fetching.release()

    assert len(network.asked) == 9
    fetching.stop()


def test_a_failure_is_the_jobs_own() -> None:
    fetching = Fetching(Network(), threads=1, a_host=1)

    broken, fine = fetching.get(["http://broken/"]), fetching.get(["http://fine/"])
    with pytest.raises(OSError, match="it fails"):
        broken.result(20)
    fetching.release()

    assert fine.result(20)
    fetching.stop()


def test_after_its_end_it_begins_nothing() -> None:
    network = Network("slow")
    fetching = Fetching(network, threads=1, a_host=1)
    first, second = fetching.get(["http://slow/"]), fetching.get(["http://slow/"])
    until(lambda: network.asked)

    fetching.stop()
    network.slow["slow"].set()

    assert first.result(20)
    fetching.release()
    assert not second.done()
    assert network.asked == ["slow"]
