"""Keeps one worker's queue full until it has done its jobs, and looks at its memory on the way."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from pydantic import SecretStr

from benchmarks.machine import resident_bytes
from benchmarks.services import Bench, module, python
from benchmarks.soak.mix import Mix
from benchmarks.stoker_service import Stoker
from stoker import Client
from stoker.local.processes import Process
from stoker_config import keys
from stoker_config.settings import Settings

# Seconds for which results and all that is kept with them stay.
_KEPT: Final = 5
_SHORTEST_QUEUE: Final = 3000
_LOOK_SECONDS: Final = 0.02
_STALLED_SECONDS: Final = 60.0
_SAMPLES: Final = 20
# By how much a worker that keeps nothing may seem to grow: what its allocator does not give back.
_NOISE: Final = 12 * 2**20
# What stays of a server on which nothing happens: workers, pools, bindings, the jobs that failed
# last. What stays of each job, or of each of one kind, would be hundreds.
_LEFT: Final = 50
_QUEUES: Final = [keys.queue("stoker", step, keys.PRIORITY_STEPS) for step in keys.PRIORITY_STEPS]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was there after so many jobs.

    Attributes:
        jobs: Jobs that had left the queue.
        seconds: Since the beginning.
        worker: Bytes of memory that the worker uses.
        redis: Bytes of memory that Redis uses.
        keys: Keys in Redis.
    """

    jobs: int
    seconds: float
    worker: int
    redis: int
    keys: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a soak found.

    Attributes:
        samples: In order.
        left: What Redis still keeps when all jobs have ended and their results have expired, and
            would keep for ever: how many values, by the kind of key.
    """

    samples: tuple[Sample, ...]
    left: dict[str, int]

    @property
    def grown(self) -> int:
        """By how many bytes the worker grew from the second quarter of its jobs to the last."""
        second, last = (median(each.worker for each in self._quarter(number)) for number in (1, 3))
        return int(last - second)

    @property
    def problems(self) -> list[str]:
        """Why this worker may not go on for ever; none if it may."""
        found = []
        if self.grown > _NOISE:
            found.append(
                f"the worker grew by {self.grown / 2**20:.1f} MiB, "
                f"of which {_NOISE / 2**20:.0f} may be noise"
            )
        if (count := sum(self.left.values())) > _LEFT:
            most = ", ".join(f"{name} {size}" for name, size in self.left.items() if size > 20)
            found.append(f"{count} values stay in Redis: {most}")
        return found

    def as_json(self) -> dict[str, Any]:
        """Give all there is to know."""
        samples = [asdict(each) for each in self.samples]
        return {"samples": samples, "grown": self.grown, "left": self.left}

    def _quarter(self, number: int) -> tuple[Sample, ...]:
        size = len(self.samples) // 4
        return self.samples[number * size : (number + 1) * size]


class _Soaked(Stoker):
    def __init__(self, bench: Bench, app: str) -> None:
        super().__init__(bench, None, result_expires=_KEPT, idempotency_expires=_KEPT)
        self._app = app

    def command(self) -> list[str]:
        quiet = ("worker", "-Q", "stoker", "-l", "error")
        return module(python(), "celery", "-A", self._app, *quiet)


def run(bench: Bench, jobs: int, seed: int, app: str, say: Callable[[str], None]) -> Found:
    """Give one worker jobs.

    Args:
        bench: Where it runs.
        jobs: How many, at least.
        seed: What they follow from.
        app: The worker's app.
        say: Is told of each sample.

    Raises:
        RuntimeError: Jobs did not end.
    """
    bench.server.clear()
    worker = _Soaked(bench, app).start()
    settings = Settings(
        redis_url=SecretStr(bench.server.url), result_expires=_KEPT, idempotency_expires=_KEPT
    )
    try:
        with Client(settings=settings) as client:
            mix = Mix(client, seed)
            samples = _feed(bench, worker, mix, jobs, say)
            # What is kept of failed jobs goes when the next one fails.
            _rest(bench, worker)
            mix.submit(1)
            _rest(bench, worker)
        return Found(samples=tuple(samples), left=_left(bench.server.client))
    finally:
        worker.stop()


def _feed(
    bench: Bench, worker: Process, mix: Mix, jobs: int, say: Callable[[str], None]
) -> list[Sample]:
    began, submitted = time.monotonic(), 0
    samples: list[Sample] = []
    while len(samples) < _SAMPLES:
        worker.check()
        waiting = sum(bench.server.client.llen(queue) for queue in _QUEUES)
        done = submitted - waiting
        if done >= jobs * (len(samples) + 1) / _SAMPLES:
            samples.append(_sample(bench, worker, done, time.monotonic() - began))
            say(words(samples[-1]))
        if waiting < _SHORTEST_QUEUE:
            submitted += mix.submit(1)
        else:
            time.sleep(_LOOK_SECONDS)
    return samples


def _sample(bench: Bench, worker: Process, jobs: int, seconds: float) -> Sample:
    return Sample(
        jobs=jobs,
        seconds=seconds,
        worker=resident_bytes(worker.pid),
        redis=bench.server.client.info("memory")["used_memory"],
        keys=bench.server.client.dbsize(),
    )


def words(sample: Sample) -> str:
    """Say what was there, in one line."""
    return (
        f"{sample.jobs:>10,} jobs  {sample.seconds:>5.0f} s  "
        f"worker {sample.worker / 2**20:>6.1f} MiB  "
        f"Redis {sample.redis / 2**20:>6.1f} MiB in {sample.keys:>7,} keys"
    )


def _rest(bench: Bench, worker: Process) -> None:
    """Wait until all jobs have ended and what is kept of them has expired."""
    client = bench.server.client
    deadline = time.monotonic() + _STALLED_SECONDS
    while any(map(client.llen, _QUEUES)) or client.hlen(keys.JOBS) or client.zcard(keys.HELD):
        worker.check()
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{client.hlen(keys.JOBS)} jobs are left, {client.zcard(keys.HELD)} of them held"
            )
        time.sleep(_LOOK_SECONDS)
    time.sleep(_KEPT + 1)


def _left(client: Any) -> dict[str, int]:
    """Count what never expires, by the kind of key: a collection counts for all that it holds."""
    sizes = {
        "hash": client.hlen,
        "zset": client.zcard,
        "list": client.llen,
        "set": client.scard,
        "stream": client.xlen,
    }
    found: dict[str, int] = {}
    lasting = (key for key in client.scan_iter(count=1000) if client.ttl(key) == -1)
    for key in lasting:
        name = key.decode()
        size = sizes.get(client.type(key).decode(), lambda _: 1)(key)
        # A job's ID, or a digest, is the last part of a name.
        kind = name if size > 1 else name.rpartition(":")[0] or name[:16]
        found[kind] = found.get(kind, 0) + size
    return dict(sorted(found.items(), key=lambda each: -each[1]))
