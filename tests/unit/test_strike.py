"""A kill of `make chaos` spares a worker that runs a job which has one chance left."""

import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis

from benchmarks.chaos.fleet import Slot
from benchmarks.chaos.strike import kill_in
from stoker_config import keys


class Standing:
    """A worker's place, and the signals that its process was sent."""

    def __init__(self) -> None:
        self.place = SimpleNamespace(supervised=True)
        self.marks = SimpleNamespace(phase=lambda: "forward")
        self.sent: list[int] = []
        self.dead = False

    def worker_id(self) -> str:
        return "near"

    def signal(self, number: int) -> bool:
        self.sent.append(number)
        return True

    def killed(self) -> None:
        self.dead = True


@pytest.mark.parametrize(
    ("holder", "deaths", "running", "spared"),
    [
        ("near", 2, True, True),
        ("near", 1, True, False),
        ("near", 2, False, False),
        ("far", 2, True, False),
    ],
)
def test_a_job_that_has_met_two_deaths_meets_no_third_while_it_runs(
    redis_url: str, holder: str, deaths: int, running: bool, spared: bool
) -> None:
    slot = Standing()
    with redis.Redis.from_url(redis_url) as client:
        server: Any = client
        server.hset("unacked", f"{holder}-1.1", '[{"headers": {"id": "one"}}]')
        server.hset("unacked", "near-1.2", '[{"headers": {"id": "two"}}]')
        server.set(keys.deaths("one"), deaths)
        if running:
            server.zadd(keys.RUNNING, {"one": 1.0})

        kill = kill_in(cast(Slot, slot), server)

    assert (kill is None, slot.dead) == (spared, not spared)
    assert slot.sent == [signal.SIGSTOP, signal.SIGCONT if spared else signal.SIGKILL]
