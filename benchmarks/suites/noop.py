"""No-op jobs: what Stoker, Celery and Redis cost beside the forward pass."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import environments
from benchmarks.celery_services import batches, plain
from benchmarks.environments import CELERY_BATCHES, Unavailable
from benchmarks.figures import Figure, rate, ratios
from benchmarks.machine import cpu_seconds
from benchmarks.options import Options
from benchmarks.picture import RATIO
from benchmarks.report import Report, Row, absent, losing
from benchmarks.scan import Best, Grid, scan
from benchmarks.services import Bench, Queued
from benchmarks.stoker_service import Stoker
from benchmarks.submitting import submitted

_METHOD: Final = (
    "no-op jobs with stored results from a queue that was filled before the worker started, "
    "between the 20 % mark and the last result, each stamped by its own worker; submit: the same "
    "jobs from one process and thread to a server without a worker, until the call is back"
)
# Each row's rate as a multiple of plain Celery's at its default: what either lane gives.
_BESIDE: Final = "of plain Celery"
_JOBS: Final = "rate"
_CPU: Final = "worker's processor time"
_COMMANDS: Final = "Redis commands"
_QUICK: Final = "a quick run proves nothing"
_AT_LEAST_ONE: Final = "a worker takes one message at least"


def run(bench: Bench, options: Options) -> Report:
    """Measure jobs a second and Redis commands a job."""
    scans: dict[str, Best] = {}
    celery = plain(bench, None)
    services: list[Queued] = [
        Stoker(bench, None),
        Stoker(bench, None, "Celery's tracer", fast_lane=False),
        Stoker(bench, None, "kombu's transport", transport="stock"),
        celery,
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
    found: list[list[Measured]] = [[] for _ in services]
    for _ in range(options.rounds):
        for at, service in enumerate(services):
            found[at].append(measure(service, options.jobs))
    ours = [each.jobs for each in found[0]]
    plainly = [each.jobs for each in found[services.index(celery)]]
    rows = [
        *(_row(at, service, found[at], ours, plainly) for at, service in enumerate(services)),
        *rows,
        *submitted(bench, options),
    ]
    return Report(
        suite="noop",
        method=_METHOD,
        rows=rows,
        problems=[
            *(best.problem for best in scans.values() if best.problem),
            *absent(rows, install=options.install),
        ],
        data={
            "jobs": options.jobs,
            "scan_jobs": options.scan_jobs,
            "grids": {name: best.to_json() for name, best in scans.items()},
            "commands": {
                f"{service.name} {service.setting}": found[at][-1].commands
                for at, service in enumerate(services)
            },
            "celery-batches": _versions(bench),
        },
    )


def _row(
    at: int,
    service: Queued,
    found: Sequence["Measured"],
    ours: Sequence[float],
    plainly: Sequence[float],
) -> Row:
    jobs = [each.jobs for each in found]
    ratio = ratios(ours, jobs)
    figures = {
        RATIO: ratio,
        _BESIDE: ratios(jobs, plainly),
        _JOBS: Figure(tuple(jobs), "jobs/s", 0),
        _COMMANDS: Figure(tuple(sum(each.commands.values()) for each in found), "a job", 2),
    }
    if all(each.cpu for each in found):
        figures[_CPU] = Figure(tuple(each.cpu for each in found), "µs a job", 0)
    return Row(
        case="no-op",
        system=service.name,
        setting=service.setting,
        figures=figures,
        note=losing(ratio) if at else "",
    )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one backlog of no-op jobs showed.

    Attributes:
        jobs: Jobs a second.
        commands: Redis commands a job, by name.
        cpu: Processor time of the worker and its children a job, in microseconds; 0 if there were
            too few jobs to tell it from that of starting.
    """

    jobs: float
    commands: dict[str, float]
    cpu: float


def measure(service: Queued, jobs: int) -> Measured:
    """Run one backlog.

    Args:
        service: What runs it; it must not be running.
        jobs: How many jobs.
    """
    server = service.bench.server
    server.clear()
    # Whole batches: how long the rest of one waits for company is the time-out's doing.
    jobs = math.ceil(jobs / service.batch) * service.batch
    ids = service.fill([f"text {at}" for at in range(jobs)])
    server.uncount()
    patience = max(service.bench.patience, 60.0)
    process = service.start()
    try:
        server.wait(ids[: jobs // 5], patience)
        begun, spent = time.time(), cpu_seconds(process.pid)
        found = server.wait(ids, patience)
        spent = cpu_seconds(process.pid) - spent
        commands = server.commands()
        if found < jobs:
            raise RuntimeError(
                f"{service.name} ({service.setting}) answered {found} of {jobs} no-op jobs:\n"
                f"{process.tail()}"
            )
    finally:
        process.stop()
    stamps = [answer.done for answer in service.collect(ids)]
    after = sum(stamp > begun for stamp in stamps)
    return Measured(
        jobs=rate(stamps),
        commands={name: calls / jobs for name, calls in commands.items()},
        cpu=1e6 * spent / after if after >= jobs / 4 else 0.0,
    )


def _best_plain(bench: Bench, options: Options, scans: dict[str, Best]) -> Queued:
    """Scan plain Celery: first how much it prefetches, then how it runs and acknowledges."""
    values = (1, 4) if options.quick else (1, 4, 16, 64, 128, 256)
    edge = _QUICK if options.quick else ""
    grid = Grid(
        name="prefetch",
        values=values,
        least=_AT_LEAST_ONE,
        most=edge,
        further=() if options.quick else (512, 1024),
    )
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
            further=() if few else (1024, 2048),
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
            further=() if few else (batch * 32, batch * 64),
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
        lambda value: measure(service(value), options.scan_jobs).jobs,
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
