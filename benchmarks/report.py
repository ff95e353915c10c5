"""What suites find, as one table on the terminal and as JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.figures import NOISE, Figure

_NO_FIGURE: Final = "–"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system in one case.

    Attributes:
        case: What was done, such as `mixed`.
        system: Who did it.
        setting: How it was set up.
        figures: What was measured, by column.
        note: What a reader must know to judge it.
    """

    case: str
    system: str
    setting: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give all there is to know."""
        return {
            "case": self.case,
            "system": self.system,
            "setting": self.setting,
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one suite found.

    Attributes:
        suite: Its name.
        method: One sentence: what was done, and between which two instants.
        rows: The table's lines. The first column of figures is a ratio to Stoker's.
        problems: Why its figures must not be used, such as a best setting on its grid's edge.
        data: What else was measured, for the JSON file: grids, series.
    """

    suite: str
    method: str
    rows: Sequence[Row]
    problems: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give all there is to know."""
        return {
            "suite": self.suite,
            "method": self.method,
            "rows": [row.to_json() for row in self.rows],
            "problems": list(self.problems),
            "data": dict(self.data),
        }


def loses(ratio: Figure) -> bool:
    """Tell whether Stoker is slower by more than noise, by the ratio of its rate to another."""
    return ratio.median < 1 - NOISE


def losing(ratio: Figure) -> str:
    """Say so where Stoker is not faster than another system, by the ratio of their rates."""
    if ratio.median > 1 + NOISE:
        return ""
    return "Stoker loses" if loses(ratio) else "even, but for noise"


def absent(rows: Iterable[Row], *, install: bool) -> list[str]:
    """List the systems that a table is lacking, as problems: it should have them all.

    Args:
        rows: The table; the row of a system that could not be run has no figures.
        install: Whether all systems were to be installed. If not, some are left out on purpose.
    """
    lacking = {row.system: row.note for row in rows if not row.figures}
    return [f"{system} is lacking: {why}" for system, why in lacking.items()] if install else []


def table(reports: Sequence[Report]) -> str:
    """Set all suites as one text."""
    return "\n".join(line for report in reports for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    columns = list(dict.fromkeys(name for row in report.rows for name in row.figures))
    head = ["case", "system", "setting", *columns, "note"]
    cells = [
        [
            row.case,
            row.system,
            row.setting,
            *(str(row.figures.get(name, _NO_FIGURE)) for name in columns),
            row.note,
        ]
        for row in report.rows
    ]
    used = [at for at in range(len(head)) if any(line[at] for line in cells)]
    lines = [[line[at] for at in used] for line in [head, *cells]]
    widths = [max(len(line[at]) for line in lines) for at in range(len(used))]
    yield f"== {report.suite}: {report.method}"
    for number, line in enumerate(lines):
        yield "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        if number == 0:
            yield "  ".join("-" * width for width in widths)
    for problem in report.problems:
        yield f"!! {problem}"
    yield ""
