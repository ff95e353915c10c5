"""Two models share a device, one of them with ten times the jobs: who gets how much of it."""

from collections.abc import Sequence
from typing import Any, Final

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
    rows: list[Row] = []
    series: dict[str, Any] = {}
    for service in ours:
        with service.running():
            ids = service.fill(texts, models)
            bench.server.wait(ids, bench.patience)
            answers = service.collect(ids)
        rows.append(_row(service.name, service.setting, models, answers))
        series[f"{service.name} {service.setting}"] = _series(models, answers)
    fifo = plain(bench, None)
    with fifo.running():
        answers = fifo.answer(texts)
    rows.append(_row(fifo.name, "first in, first out", models, answers))
    series["first in, first out"] = _series(models, answers)
    return Report(suite="fairness", method=_METHOD, rows=rows, data={"device_seconds": series})


def _row(name: str, setting: str, models: Sequence[str], answers: Sequence[Answer]) -> Row:
    last = max(
        answer.done for answer, model in zip(answers, models, strict=True) if model == _QUIET
    )
    began = min(answer.done for answer in answers)
    until = [model for answer, model in zip(answers, models, strict=True) if answer.done <= last]
    waits = [
        answer.done - began
        for answer, model in zip(answers, models, strict=True)
        if model == _QUIET
    ]
    return Row(
        case=f"{_RATIO} : 1",
        system=name,
        setting=setting,
        figures={
            # Half of it is fair; what it asks for is a share of one in eleven.
            SHARE: Figure((until.count(_QUIET) / len(until),), "of the device", 2),
            "its mean wait": Figure((sum(waits) / len(waits),), "s", 2),
            "all done after": Figure((max(a.done for a in answers) - began,), "s", 2),
        },
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
