"""Two models share a device, one of them with ten times the jobs: who gets how much of it."""

from collections.abc import Sequence
from statistics import mean
from typing import Final

from benchmarks.celery_services import plain
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.report import Report, Row
from benchmarks.services import Answer, Bench
from benchmarks.stoker_service import Stoker

_METHOD: Final = (
    "simulated device: each job of either model takes it for the same time; jobs are queued at "
    "once, ten of the busy model to one of the quiet one, in turn"
)
SHARE: Final = "quiet model's share"
_SECONDS: Final = 0.005
_RATIO: Final = 10
_QUIET: Final = "quiet"
_BUSY: Final = "busy"
_POINTS: Final = 50
# A batch is a turn: one of all that waits would leave nothing to share.
_ROWS: Final = 8


def run(bench: Bench, options: Options) -> Report:
    """Measure each model's device-seconds over time."""
    quiet = 12 if options.quick else 150
    models = ([_BUSY] * _RATIO + [_QUIET]) * quiet
    texts = [f"sleep={_SECONDS} {model} {at}" for at, model in enumerate(models)]
    all_of_it = len(models) + 1
    ours = [
        Stoker(bench, None, f"batches of {_ROWS}", batch_rows=_ROWS),
        Stoker(
            bench,
            None,
            f"batches of {_ROWS}, the whole queue prefetched",
            batch_rows=_ROWS,
            prefetch=all_of_it,
        ),
    ]
    fifo = plain(bench, None)
    found: list[list[Sequence[Answer]]] = [[] for _ in (*ours, fifo)]
    for _ in range(options.rounds):
        for at, service in enumerate(ours):
            with service.running():
                ids = service.fill(texts, models)
                bench.server.wait(ids, bench.patience)
                found[at].append(service.collect(ids))
        with fifo.running():
            found[-1].append(fifo.answer(texts))
    names = [
        *((service.name, service.setting) for service in ours),
        (fifo.name, "first in, first out"),
    ]
    return Report(
        suite="fairness",
        method=_METHOD,
        rows=[
            _row(name, setting, models, rounds)
            for (name, setting), rounds in zip(names, found, strict=True)
        ],
        data={
            "device_seconds": {
                f"{name} {setting}": _series(models, rounds[-1])
                for (name, setting), rounds in zip(names, found, strict=True)
            }
        },
    )


def _row(name: str, setting: str, models: Sequence[str], rounds: Sequence[Sequence[Answer]]) -> Row:
    shares, waits, ends = zip(*(_figures(models, answers) for answers in rounds), strict=True)
    return Row(
        case=f"{_RATIO} : 1",
        system=name,
        setting=setting,
        figures={
            # Half of it is fair; what it asks for is a share of one in eleven.
            SHARE: Figure(shares, "of the device", 2),
            "its mean wait": Figure(waits, "s", 2),
            "all done after": Figure(ends, "s", 2),
        },
    )


def _figures(models: Sequence[str], answers: Sequence[Answer]) -> tuple[float, float, float]:
    """Give the quiet model's share until its last job, its mean wait, and when all was done."""
    began = min(answer.done for answer in answers)
    pairs = list(zip(answers, models, strict=True))
    quiet = [answer.done for answer, model in pairs if model == _QUIET]
    until = [model for answer, model in pairs if answer.done <= max(quiet)]
    return (
        until.count(_QUIET) / len(until),
        mean(quiet) - began,
        max(answer.done for answer in answers) - began,
    )


def _series(models: Sequence[str], answers: Sequence[Answer]) -> list[dict[str, float]]:
    """Add up device-seconds in order of completion, at some points of time."""
    ordered = sorted((answer.done, model) for answer, model in zip(answers, models, strict=True))
    used = {_BUSY: 0.0, _QUIET: 0.0}
    points = []
    for at, (done, model) in enumerate(ordered):
        used[model] += _SECONDS
        if at % max(1, len(ordered) // _POINTS) == 0 or at == len(ordered) - 1:
            points.append({"at": done - ordered[0][0], **used})
    return points
