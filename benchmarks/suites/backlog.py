"""A million jobs are waiting: whether a worker is as fast as with a thousand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import Redis

from benchmarks.figures import Figure, rate, ratios
from benchmarks.options import Options
from benchmarks.picture import RATIO
from benchmarks.report import Report, Row
from benchmarks.services import Bench
from benchmarks.stoker_service import Stoker
from stoker_config import keys
from stoker_tasks.wire import PRIORITIES

_METHOD: Final = (
    "no-op jobs while the queue is held at its length by a producer, between the 20 % mark and the "
    "last of the jobs in front"
)
_SHORT: Final = 1000
_AT_ONCE: Final = 5000
_FEED: Final = 500
_LOOK_SECONDS: Final = 0.02
# A long queue takes longer to fill than to measure.
_MOST_ROUNDS: Final = 3
_QUEUE: Final = keys.queue("stoker", PRIORITIES["normal"], keys.PRIORITY_STEPS)


def run(bench: Bench, options: Options) -> Report:
    """Measure jobs a second in front of a short and of a long queue."""
    lengths = (_SHORT, options.backlog)
    rates: dict[int, list[float]] = {length: [] for length in lengths}
    memory: dict[int, float] = {}
    for _ in range(min(options.rounds, _MOST_ROUNDS)):
        for length in lengths:
            rates[length].append(_measure(bench, length, options.backlog_jobs))
            memory[length] = bench.server.client.info("memory")["used_memory_peak"] / 2**20
    rows = [
        Row(
            case=f"{length:,} queued",
            system="Stoker",
            setting="default",
            figures={
                RATIO: ratios(rates[length], rates[_SHORT]),
                "rate": Figure(tuple(rates[length]), "jobs/s", 0),
            },
        )
        for length in lengths
    ]
    return Report(suite="backlog", method=_METHOD, rows=rows, data={"redis_peak_mib": memory})


def _measure(bench: Bench, length: int, jobs: int) -> float:
    service = Stoker(bench, None)
    bench.server.clear()
    front: list[str] = []
    for start in range(0, length, _AT_ONCE):
        front += service.fill([f"text {at}" for at in range(start, min(start + _AT_ONCE, length))])
        # The others are never looked for.
        del front[jobs:]
    with _held(bench, service, length, front, jobs):
        process = service.start()
        try:
            while len(front) < jobs:
                process.check()
                threading.Event().wait(_LOOK_SECONDS)
            found = bench.server.wait(front, max(bench.patience, 60.0))
        finally:
            process.stop()
    if found < jobs:
        raise RuntimeError(f"Stoker answered {found} of {jobs} jobs in front of {length}")
    return rate([answer.done for answer in service.collect(front)])


@contextmanager
def _held(
    bench: Bench, service: Stoker, length: int, front: list[str], jobs: int
) -> Iterator[None]:
    """Hold the queue at its length until the context ends, or enough is done."""
    over = threading.Event()

    def feed() -> None:
        with Redis.from_url(bench.server.url) as client:
            while not over.wait(_LOOK_SECONDS):
                if client.llen(_QUEUE) < length:
                    ids = service.fill(["text"] * _FEED)
                    front.extend(ids[: max(0, jobs - len(front))])

    feeder = threading.Thread(target=feed, name="feeder")
    feeder.start()
    try:
        yield
    finally:
        over.set()
        feeder.join()
