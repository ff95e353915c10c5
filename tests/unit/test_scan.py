"""The bench looks for a best setting: on an edge of the grid it counts where the curve is flat."""

from collections.abc import Callable, Iterator, Mapping

from benchmarks.scan import Grid, judge, once_more, scan, scan_cases

GRID = Grid(name="batch", values=(1, 2, 4, 8))


def rates(*found: float) -> dict[float, list[float]]:
    return {value: [rate] for value, rate in zip(GRID.values, found, strict=True)}


def measured(*rounds: Mapping[float, float]) -> tuple[Callable[[float], float], list[float]]:
    """Give what measures each value, round by round, and which values it was asked for."""
    asked: list[float] = []
    left: dict[float, Iterator[float]] = {
        value: iter([each[value] for each in rounds if value in each]) for value in GRID.values
    }

    def measure(value: float) -> float:
        asked.append(value)
        return next(left[value])

    return measure, asked


def test_a_best_value_within_the_grid_is_the_best() -> None:
    best = judge(GRID, rates(1, 2, 9, 2), "a peer")

    assert (best.value, best.problem, best.remark) == (4, "", "")


def test_a_best_value_on_the_edge_proves_nothing_unless_the_curve_is_flat_or_ends_there() -> None:
    ended = Grid(name="batch", values=GRID.values, most="the device holds no more")

    assert "try larger values" in judge(GRID, rates(1, 2, 4, 9), "a peer").problem
    assert "try smaller values" in judge(GRID, rates(9, 4, 2, 1), "a peer").problem
    assert "as good but for noise" in judge(GRID, rates(1, 2, 9, 9.1), "a peer").remark
    assert "the device holds no more" in judge(ended, rates(1, 2, 4, 9), "a peer").remark


def test_an_edge_that_was_best_by_chance_is_tried_twice_more() -> None:
    first: dict[float, float] = {1: 1.0, 2: 2.0, 4: 8.0, 8: 9.0}
    again: dict[float, float] = {1: 1.0, 2: 2.0, 4: 8.0, 8: 8.1}
    measure, asked = measured(first, again, again)

    best = scan(GRID, measure, 1, "a peer")

    assert asked == [1, 2, 4, 8] * 3
    assert (best.value, best.problem) == (8, "")
    assert best.tried[8] == [9.0, 8.1, 8.1]


def test_beyond_an_edge_the_further_values_are_tried_until_the_best_lies_within() -> None:
    grid = Grid(name="batch", values=(1, 2), further=(4, 8, 16))
    found = {1.0: 1.0, 2.0: 2.0, 4.0: 4.0, 8.0: 3.0}
    asked: list[float] = []

    def measure(value: float) -> float:
        asked.append(value)
        return found[value]

    best = scan(grid, measure, 1, "a peer")

    assert (best.value, best.problem, best.remark) == (4, "", "")
    assert asked == [1, 2] * 3 + [4] * 3 + [8] * 3
    assert list(best.tried) == [1, 2, 4, 8]
    # Nor is anything tried above a best that lies on the other edge.
    found |= {1.0: 9.0}
    assert "try smaller values" in scan(grid, measure, 1, "a peer").problem
    assert asked[12:] == [1, 2] * 3


def test_of_a_long_grid_only_both_ends_are_tried_again() -> None:
    assert list(once_more(Grid(name="batch", values=(1, 2, 4, 8, 16)))) == [1, 2, 8, 16] * 2
    assert list(once_more(Grid(name="batch", values=(1, 2, 4)))) == [1, 2, 4] * 2


def test_a_grid_is_widened_for_all_cases_if_one_of_them_is_best_on_its_edge() -> None:
    grid = Grid(name="batch", values=(1, 2), least="no batch is smaller", further=(4, 8))
    long = {1.0: 9.0, 2.0: 5.0, 4.0: 2.0}
    short = {1.0: 1.0, 2.0: 5.0, 4.0: 3.0}

    best = scan_cases(grid, lambda value: {"long": long[value], "short": short[value]}, 1)

    assert [(best[case].value, best[case].problem) for case in ("long", "short")] == [
        (1, ""),
        (2, ""),
    ]
    assert best["long"].tried == {1: [9.0] * 3, 2: [5.0] * 3, 4: [2.0] * 3}
    assert best["long"].remark == "batch=1: no batch is smaller"


def test_of_a_system_that_cannot_run_nothing_is_found() -> None:
    asked: list[float] = []

    def measure(value: float) -> dict[str, float]:
        asked.append(value)
        return {"long": 1.0} if value == 1 else {}

    assert scan_cases(GRID, measure, 2) == {}
    assert asked == [1, 2]
