"""The search for a system's best setting over a published grid."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from benchmarks.figures import NOISE

_AGAIN: Final = 2


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The values of one setting, in order.

    Attributes:
        name: The setting.
        values: What is tried.
        least: Why no value below the first one exists; empty if one does.
        most: Why no value above the last one exists; empty if one does.
        further: Values above the last one, tried in turn for as long as the best lies on that edge.
    """

    name: str
    values: tuple[float, ...]
    least: str = ""
    most: str = ""
    further: tuple[float, ...] = ()

    def wider(self) -> "Grid":
        """Take the first of the further values in."""
        first, *others = self.further
        return replace(self, values=(*self.values, first), further=tuple(others))


@dataclass(frozen=True, kw_only=True)
class Best:
    """What a scan found.

    Attributes:
        value: The best value.
        tried: The rate of each value, by round.
        problem: Why the scan proves nothing: its best lies on the grid's edge. Empty if it does.
        remark: Why an edge is a real one; empty if the best lies within.
    """

    value: float
    tried: dict[float, list[float]]
    problem: str = ""
    remark: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give all there is to know."""
        return {
            "best": self.value,
            "tried": {f"{value:g}": rates for value, rates in self.tried.items()},
            "problem": self.problem,
            "remark": self.remark,
        }


def scan(grid: Grid, measure: Callable[[float], float], rounds: int, system: str) -> Best:
    """Try each value, round after round.

    Args:
        grid: What to try.
        measure: Gives jobs a second at one value.
        rounds: How often each is tried.
        system: Whose setting it is, for messages.
    """
    return scan_cases(grid, lambda value: {system: measure(value)}, rounds)[system]


def scan_cases(
    grid: Grid, measure: Callable[[float], Mapping[str, float]], rounds: int
) -> dict[str, Best]:
    """Scan a grid once for several cases, since starting a system takes long.

    Args:
        grid: What to try.
        measure: Gives jobs a second at one value, by case in words; none if the system cannot run.
        rounds: How often each value is tried.

    Returns:
        What was found for each case; nothing if the system cannot run.
    """
    tried: defaultdict[str, dict[float, list[float]]] = defaultdict(dict)

    def judged_by(values: Iterable[float]) -> dict[str, Best]:
        for value in values:
            rates = measure(value)
            if not rates:
                return {}
            for case, rate in rates.items():
                tried[case].setdefault(value, []).append(rate)
        return {case: judge(grid, rates, case) for case, rates in tried.items()}

    found = judged_by(rounds * grid.values)
    if any(each.problem for each in found.values()):
        found = judged_by(once_more(grid))
    while grid.further and any(
        each.problem and each.value == grid.values[-1] for each in found.values()
    ):
        grid = grid.wider()
        found = judged_by([grid.values[-1]] * (rounds + _AGAIN))
    return found


def once_more(grid: Grid) -> Iterator[float]:
    """Give what is tried again if the best value lies on an edge.

    Where nearly all values are as good, one of the two edges is often the best by chance.
    """
    for _ in range(_AGAIN):
        yield from dict.fromkeys((*grid.values[:2], *grid.values[-2:]))


def judge(grid: Grid, tried: dict[float, list[float]], system: str) -> Best:
    """Name the best value, and say whether the grid was wide enough to show it.

    A best value on an edge proves nothing, unless no value lies beyond or its inner neighbour is
    as good but for noise: then the curve has gone flat.
    """
    rates = [median(tried[value]) for value in grid.values]
    at = max(range(len(rates)), key=rates.__getitem__)
    problem = remark = ""
    for edge, inner, why, words in (
        (0, 1, grid.least, "smaller"),
        (len(rates) - 1, len(rates) - 2, grid.most, "larger"),
    ):
        if at != edge or len(rates) < 2:
            continue
        value = f"{grid.name}={grid.values[at]:g}"
        if why:
            remark = f"{value}: {why}"
        elif rates[at] > (1 + NOISE) * rates[inner]:
            problem = f"{system} is best at {value}, the grid's edge: try {words} values as well"
        else:
            remark = f"{value}: its neighbour on the grid is as good but for noise"
    return Best(value=grid.values[at], tried=tried, problem=problem, remark=remark)


def interleave(count: int, measures: Sequence[Callable[[], None]]) -> None:
    """Run measurements A B C, A B C …: what drifts over minutes hits all of them alike."""
    for _ in range(count):
        for measure in measures:
            measure()
