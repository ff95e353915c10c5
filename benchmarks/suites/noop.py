"""No-op jobs: what Stoker, Celery and Redis cost beside the forward pass."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks import environments
from benchmarks.celery_services import batches, plain
from benchmarks.environments import CELERY_BATCHES, Unavailable
from benchmarks.figures import Figure, rate, ratios
from benchmarks.options import Options
from benchmarks.picture import RATIO
from benchmarks.report import Report, Row, losing
from benchmarks.scan import Best, Grid, scan
from benchmarks.services import Bench, Queued
from benchmarks.stoker_service import Stoker

_METHOD: Final = (
    "no-op jobs with stored results from a queue that was filled before the worker started, "
    "between the 20 % mark and the last result, each stamped by its own worker"
)
_JOBS: Final = "rate"
_COMMANDS: Final = "Redis commands"
_QUICK: Final = "a quick run proves nothing"
_AT_LEAST_ONE: Final = "a worker takes one message at least"


def run(bench: Bench, options: Options) -> Report:
    """Measure jobs a second and Redis commands a job."""
    scans: dict[str, Best] = {}
    services: list[Queued] = [
        Stoker(bench, None),
        Stoker(bench, None, "kombu's transport", transport="stock"),
        plain(bench, None),
        _best_plain(bench, options, scans),
    ]
    rows: list[Row] = []
    try:
        interpreter = CELERY_BATCHES.python(bench.cache, install=options.install)
    except Unavailable as error:
        rows = [Row(case="no-op", system=CELERY_BATCHES.name, note=str(error))]
    else:
        services.append(batches(bench, None, interpreter, label="default"))
        services.append(_best_batches(bench, options, interpreter, scans))
    figures: list[list[tuple[float, float]]] = [[] for _ in services]
    kinds: list[dict[str, float]] = [{} for _ in services]
    for _ in range(options.rounds):
        for at, service in enumerate(services):
            jobs, commands = measure(service, options.jobs)
            kinds[at] = commands
            figures[at].append((jobs, sum(commands.values())))
    ours = [jobs for jobs, _ in figures[0]]
    for at, service in enumerate(services):
        ratio = ratios(ours, [jobs for jobs, _ in figures[at]])
        rows.insert(
            at,
            Row(
                case="no-op",
                system=service.name,
                setting=service.setting,
                figures={
                    RATIO: ratio,
                    _JOBS: Figure(tuple(jobs for jobs, _ in figures[at]), "jobs/s", 0),
                    _COMMANDS: Figure(tuple(each for _, each in figures[at]), "a job", 2),
                },
                note=losing(ratio) if at else "",
            ),
        )
    return Report(
        suite="noop",
        method=_METHOD,
        rows=rows,
        problems=[best.problem for best in scans.values() if best.problem],
        data={
            "jobs": options.jobs,
            "grids": {name: best.to_json() for name, best in scans.items()},
            "commands": {
                f"{service.name} {service.setting}": kinds[at]
                for at, service in enumerate(services)
            },
            "celery-batches": _versions(bench),
        },
    )


def measure(service: Queued, jobs: int) -> tuple[float, dict[str, float]]:
    """Run one backlog.

    Args:
        service: What runs it; it must not be running.
        jobs: How many jobs.

    Returns:
        Jobs a second, and Redis commands a job by name.
    """
    server = service.bench.server
    server.clear()
    # Whole batches: how long the rest of one waits for company is the time-out's doing.
    jobs = math.ceil(jobs / service.batch) * service.batch
    ids = service.fill([f"text {at}" for at in range(jobs)])
    server.uncount()
    process = service.start()
    try:
        found = server.wait(ids, max(service.bench.patience, 60.0))
        commands = server.commands()
        if found < jobs:
            raise RuntimeError(
                f"{service.name} ({service.setting}) answered {found} of {jobs} no-op jobs:\n"
                f"{process.tail()}"
            )
    finally:
        process.stop()
    answers = service.collect(ids)
    per_job = {name: calls / jobs for name, calls in commands.items()}
    return rate([answer.done for answer in answers]), per_job


def _best_plain(bench: Bench, options: Options, scans: dict[str, Best]) -> Queued:
    """Scan plain Celery: first how much it prefetches, then how it runs and acknowledges."""
    values = (1, 4) if options.quick else (1, 4, 16, 64, 128, 256)
    edge = _QUICK if options.quick else ""
    grid = Grid(name="prefetch", values=values, least=_AT_LEAST_ONE, most=edge)
    prefetch = _scan(
        "plain Celery",
        grid,
        lambda value: plain(bench, None, prefetch=value),
        options,
        scans,
    )
    ways = [(pool, late) for pool in ("solo", "threads", "prefork") for late in (False, True)]
    ways = ways[:1] if options.quick else ways
    every = "every pool with one process or thread is tried, with early and late acknowledgement"
    chosen = _scan(
        "plain Celery",
        Grid(name="way", values=tuple(range(len(ways))), least=every, most=every),
        lambda value: plain(
            bench, None, prefetch=prefetch, pool=ways[int(value)][0], late=ways[int(value)][1]
        ),
        options,
        scans,
    )
    pool, late = ways[int(chosen)]
    return plain(bench, None, label="best", pool=pool, late=late, prefetch=prefetch)


def _best_batches(bench: Bench, options: Options, python: Path, scans: dict[str, Best]) -> Queued:
    """Scan celery-batches: the batch, then its time-out, then how much it prefetches."""
    few = options.quick
    edge = _QUICK if few else ""
    batch = _scan(
        "celery-batches",
        Grid(
            name="flush_every",
            values=(10, 50) if few else (1, 8, 32, 64, 128, 256, 512),
            least=_AT_LEAST_ONE,
            most=edge,
        ),
        lambda value: batches(bench, None, python, batch=value, wait=1),
        options,
        scans,
    )
    wait = _scan(
        "celery-batches",
        Grid(
            name="flush_interval",
            values=(1, 30) if few else (0.05, 0.2, 1, 30),
            most="its default; with a full queue no batch waits so long",
            least="shorter than the time in which a batch fills",
        ),
        lambda value: batches(bench, None, python, batch=batch, wait=value),
        options,
        scans,
    )
    prefetch = _scan(
        "celery-batches",
        Grid(
            name="prefetch",
            values=tuple(batch * times for times in ((1, 2) if few else (1, 2, 4, 8, 16))),
            least="with fewer a batch is never full",
            most=edge,
        ),
        lambda value: batches(bench, None, python, batch=batch, wait=wait, prefetch=value),
        options,
        scans,
    )
    return batches(bench, None, python, label="best", batch=batch, wait=wait, prefetch=prefetch)


def _scan(
    system: str,
    grid: Grid,
    service: Callable[[float], Queued],
    options: Options,
    scans: dict[str, Best],
) -> float:
    best = scan(
        grid,
        lambda value: measure(service(value), options.jobs)[0],
        options.scan_rounds,
        system,
    )
    scans[f"{system}: {grid.name}"] = best
    return best.value


def _versions(bench: Bench) -> dict[str, str]:
    try:
        python = CELERY_BATCHES.python(bench.cache, install=False)
    except Unavailable:
        return {}
    return environments.installed(python, ("celery", "kombu", "redis", "celery-batches"))
