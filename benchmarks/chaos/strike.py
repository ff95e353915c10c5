"""One `kill -9` of a worker process, and what it held and did at that instant."""

import re
import signal
import time
from collections.abc import Collection
from typing import Any, Final

import redis

from benchmarks.chaos.fleet import Slot
from benchmarks.chaos.recovery import Kill
from stoker_config import keys
from stoker_config.lapsed import POISON

_JOB_ID: Final = re.compile(rb'"id": "([^"]+)"')


def kill_in(slot: Slot, client: Any) -> Kill | None:
    """Kill the worker process of a place; gives None if there was none, or it is spared.

    It is spared if it runs a job of which this would be the last of the deaths that make poison: no
    job of a run is guilty of anything, and the system cannot know that.

    Args:
        slot: The place.
        client: A redis-py client, by which to see what it holds; None if its tags do not tell.
    """
    worker_id = slot.worker_id() if client is not None else ""
    # Stopped, it does nothing more; what it held is read before its supervisor gives it back.
    if client is not None and not slot.signal(signal.SIGSTOP):
        return None
    phase = slot.marks.phase()
    held = held_by(client, worker_id) if worker_id else {}
    if held and _has_last_chance(client, set(held.values())):
        slot.signal(signal.SIGCONT)
        return None
    if not slot.signal(signal.SIGKILL):
        return None
    kill = Kill(slot.place.supervised, phase, held, time.monotonic())
    slot.killed()
    return kill


def held_by(client: Any, worker_id: str) -> dict[str, str]:
    """List the deliveries that a worker holds, each with its job's ID.

    Args:
        client: A redis-py client.
        worker_id: What its tags begin with.
    """
    try:
        table = client.hgetall("unacked")
    except redis.RedisError:  # Redis is away as well
        return {}
    held = {}
    for tag, text in table.items():
        found = _JOB_ID.search(text) if tag.startswith(f"{worker_id}-".encode()) else None
        if found:
            held[tag.decode()] = found[1].decode()
    return held


def _has_last_chance(client: Any, jobs: Collection[str]) -> bool:
    """Tell whether one of these jobs is running, and would be given up after one more death."""
    try:
        running = client.zmscore(keys.RUNNING, [*jobs])
        deaths = client.mget([keys.deaths(job) for job in jobs])
    except redis.RedisError:
        return False
    return any(
        since is not None and int(count or 0) >= POISON - 1
        for since, count in zip(running, deaths, strict=True)
    )
