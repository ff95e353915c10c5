"""Bulk submit: jobs a second that one process puts on a queue, by Stoker's client and Celery's."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.celery_services import plain
from benchmarks.figures import Figure, ratios
from benchmarks.options import Options
from benchmarks.picture import RATIO
from benchmarks.report import Row, losing
from benchmarks.services import Bench
from benchmarks.stoker_service import Stoker

_WARM_UP: Final = 100


def submitted(bench: Bench, options: Options) -> list[Row]:
    """Measure each way to submit the same texts, round after round.

    Celery's client has no result backend here: with one it would subscribe to each job's result,
    and be slower.

    Args:
        bench: Where the queue is; no worker may run.
        options: How many jobs, and how many rounds.
    """
    stoker, celery = Stoker(bench, None), plain(bench, None)

    def one_by_one(texts: Sequence[str]) -> None:
        for text in texts:
            celery.send(text)

    ways: list[tuple[str, str, Callable[[Sequence[str]], object]]] = [
        (stoker.name, "submit_many", stoker.fill),
        (celery.name, "one by one", one_by_one),
        (celery.name, "group", celery.group),
        (celery.name, "Producer.batch of 500", celery.fill),
    ]
    texts = [f"text {at}" for at in range(options.jobs)]
    found: list[list[float]] = [[] for _ in ways]
    for _ in range(options.rounds):
        for at, (_, _, submit) in enumerate(ways):
            bench.server.clear()
            # It connects, and loads what it needs.
            submit(texts[:_WARM_UP])
            began = time.perf_counter()
            submit(texts)
            found[at].append(len(texts) / (time.perf_counter() - began))
    rows = []
    for at, (system, setting, _) in enumerate(ways):
        ratio = ratios(found[0], found[at])
        rows.append(
            Row(
                case="submit",
                system=system,
                setting=setting,
                figures={RATIO: ratio, "rate": Figure(tuple(found[at]), "jobs/s", 0)},
                note=losing(ratio) if at else "",
            )
        )
    return rows
