"""MiniLM on real texts: the rate at which vectors come back, and whether they are the same."""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from benchmarks.contenders import Contender, Ran, Run, contenders
from benchmarks.corpora import Mix, mixes
from benchmarks.figures import Figure, ratios
from benchmarks.offline_process import offline
from benchmarks.options import Options
from benchmarks.picture import RATIO
from benchmarks.report import Report, Row, absent, loses, losing
from benchmarks.scan import Best, Grid, scan_cases
from benchmarks.services import Answer, Bench
from stoker.demo.models import embedding_model
from stoker.local.errors import NotReady, ProcessDied

_METHOD: Final = (
    "MiniLM, feature-extraction with mean pooling and truncation, float32, one torch thread; all "
    "texts at once to a warm system, from before the first is submitted to the last answer"
)
_RATE: Final = "rate"
_COSINE: Final = "least cosine"
# Seconds in which a text was ready and no pass ran, by the worker's own meter.
_IDLE: Final = "idle with work"
_SAME: Final = 0.9999
# A setting: the number of the contender, and the value.
_Setting = tuple[int, float]


def run(bench: Bench, options: Options) -> Report:
    """Find each system's best setting, then measure all at it, round after round."""
    model = str(options.model or embedding_model(bench.cache, time.sleep))
    cases = mixes(options.texts, options.seed)
    with offline(bench, model) as process:
        systems = contenders(bench, options, model, process)
        expected = {mix.name: process.run("single", mix.texts)[1] for mix in cases}
        found = _Found(cases, expected)
        best = _scan_all(systems, cases, options, found)
        wanted = _wanted(systems, cases, best, found)
        for number in range(options.rounds):
            for (at, value), some in wanted.items():
                _say(f"texts: round {number + 1}, {systems[at].name}, {systems[at].words(value)}")
                for mix, ran in _run(systems[at], value, some, None, found, at):
                    found.rates[at, value, mix.name].append(ran.rate)
                    if ran.idle is not None:
                        found.idle[at, value, mix.name].append(ran.idle)
                    found.check(systems[at].name, (at, value), mix, ran.answers)
    return _report(systems, cases, best, wanted, found, options)


class _Found:
    """What is gathered on the way.

    Args:
        cases: The mixes.
        expected: The right answers, by mix.
    """

    def __init__(self, cases: Sequence[Mix], expected: dict[str, list[Answer]]) -> None:
        self.cases = cases
        self._expected = expected
        self.rates: dict[tuple[int, float, str], list[float]] = defaultdict(list)
        self.idle: dict[tuple[int, float, str], list[float]] = defaultdict(list)
        self.cosines: dict[tuple[int, float, str], float] = {}
        self.reasons: dict[int, str] = {}
        self.problems: list[str] = []
        self.stages: list[dict[str, Any]] = []

    def check(self, name: str, setting: _Setting, mix: Mix, answers: Sequence[Answer]) -> None:
        """Compare answers with the right ones."""
        pairs = zip(answers, self._expected[mix.name], strict=True)
        least = min(_cosine(one.output, right.output) for one, right in pairs)
        key = (*setting, mix.name)
        self.cosines[key] = min(least, self.cosines.get(key, 1.0))
        if least < _SAME:
            self.problems.append(f"{name} gives other vectors for {mix.name}: cosine {least:.5f}")
        if timings := [answer.timing for answer in answers if answer.timing]:
            self.stages.append({"mix": mix.name, "setting": setting[0], **_stages(timings)})


def _scan_all(
    systems: Sequence[Contender], cases: Sequence[Mix], options: Options, found: _Found
) -> dict[tuple[int, str], Best]:
    """Find each system's best setting for each mix."""
    best: dict[tuple[int, str], Best] = {}
    for at, system in enumerate(systems):
        if system.grid is None or system.why_not:
            continue
        # Of one value nothing is to be found out.
        if len(system.grid.values) > 1:
            for mix, one in _scan(system, system.grid, cases, options, found, at).items():
                best[at, mix] = one
    return best


def _scan(
    system: Contender,
    grid: Grid,
    cases: Sequence[Mix],
    options: Options,
    found: _Found,
    at: int,
) -> dict[str, Best]:
    """Scan a system's grid once for all mixes, since starting it takes long."""
    words = {mix.name: f"{system.name}, {mix.name}," for mix in cases}

    def measure(value: float) -> dict[str, float]:
        _say(f"texts: scan, {system.name}, {system.words(value)}")
        runs = _run(system, value, cases, options.scan_texts, found, at)
        return {words[mix.name]: ran.rate for mix, ran in runs}

    best = scan_cases(grid, measure, options.scan_rounds)
    return {name: best[case] for name, case in words.items() if case in best}


def _wanted(
    systems: Sequence[Contender],
    cases: Sequence[Mix],
    best: dict[tuple[int, str], Best],
    found: _Found,
) -> dict[_Setting, list[Mix]]:
    """List what is measured in each round: a system at a value, and the mixes for it."""
    wanted: dict[_Setting, list[Mix]] = defaultdict(list)
    for at, system in enumerate(systems):
        if system.why_not or at in found.reasons:
            continue
        for mix in cases:
            values = {system.grid.values[0] if system.grid else 0.0}
            if (at, mix.name) in best:
                values = {best[at, mix.name].value}
            for value in values | ({system.also} if system.also is not None else set()):
                wanted[at, value].append(mix)
    return wanted


def _run(
    system: Contender,
    value: float,
    cases: Sequence[Mix],
    count: int | None,
    found: _Found,
    at: int,
) -> Iterator[tuple[Mix, Ran]]:
    """Start a system and run mixes; one that cannot be started is left out from then on."""
    if at in found.reasons:
        return
    try:
        with system.start(value) as run:
            yield from [(mix, _measure(run, mix, count)) for mix in cases]
    except (NotReady, ProcessDied) as error:
        found.reasons[at] = "could not be started here: " + str(error).partition("\n")[0]
        _say(str(error))


def _measure(run: Run, mix: Mix, count: int | None) -> Ran:
    return run(mix.first(count) if count else mix.texts)


def _report(
    systems: Sequence[Contender],
    cases: Sequence[Mix],
    best: dict[tuple[int, str], Best],
    wanted: dict[_Setting, list[Mix]],
    found: _Found,
    options: Options,
) -> Report:
    rows: list[Row] = []
    for mix in cases:
        ours = found.rates[0, 0.0, mix.name]
        for at, system in enumerate(systems):
            reason = system.why_not or found.reasons.get(at, "")
            if reason:
                rows.append(Row(case=mix.name, system=system.name, note=reason))
                continue
            values = sorted(value for number, value in wanted if number == at)
            for value in (each for each in values if mix in wanted[at, each]):
                theirs = found.rates[at, value, mix.name]
                ratio = ratios(ours, theirs)
                top = (at, mix.name) in best and value == best[at, mix.name].value
                notes = ["at its best"] if top else []
                notes += [system.note] if system.note else []
                idle = found.idle.get((at, value, mix.name))
                judged = not system.ours and not system.ceiling and losing(ratio)
                notes += [judged] if judged else []
                rows.append(
                    Row(
                        case=mix.name,
                        system=system.name,
                        setting=system.words(value),
                        figures={
                            RATIO: ratio,
                            _RATE: Figure(tuple(theirs), "/s"),
                            _COSINE: Figure((found.cosines[at, value, mix.name],), "", 6),
                            **({_IDLE: Figure(tuple(idle), "s", 2)} if idle else {}),
                        },
                        note="; ".join(notes),
                    )
                )
    grids = {f"{systems[at].name}, {name}": each.to_json() for (at, name), each in best.items()}
    return Report(
        suite="texts",
        method=_METHOD,
        rows=rows,
        problems=[
            *(each.problem for each in best.values() if each.problem),
            *dict.fromkeys(found.problems),
            # Of a few texts it would be chance.
            *([] if options.quick else outdone(rows)),
            *absent(rows, install=options.install),
        ],
        data={
            "mixes": {mix.name: mix.to_json() for mix in cases},
            "grids": grids,
            "stoker": found.stages,
        },
    )


def outdone(rows: Sequence[Row]) -> list[str]:
    """List where Stoker is faster at another setting than at its default one, as problems.

    Batches must never be slower than one job after another.

    Args:
        rows: The table, Stoker's default first.
    """
    return [
        f"{row.case}: Stoker is faster with {row.setting} than at its default"
        for row in rows
        if row.system == rows[0].system and row.figures and loses(row.figures[RATIO])
    ]


def _stages(timings: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Say where Stoker's time went, from the timings of a run's jobs."""
    count = len(timings)
    passes = {timing["batch"]: timing["forward_ms"] for timing in timings}
    return {
        "jobs_a_pass": count / len(passes),
        "forward_s": sum(passes.values()) / 1000,
        "padding_efficiency": sum(each["tokens"] for each in timings)
        / max(1, sum(each["padded_tokens"] for each in timings)),
        "preprocess_s": sum(each["preprocess_ms"] for each in timings) / 1000,
    }


def _cosine(one: Any, other: Any) -> float:
    with suppress(TypeError, ValueError):
        norm = math.hypot(*one) * math.hypot(*other)
        return sum(a * b for a, b in zip(one, other, strict=True)) / norm if norm else 0.0
    return 0.0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
