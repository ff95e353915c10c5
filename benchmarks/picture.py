"""The table's ratios as bars, in an SVG file written by hand."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from benchmarks.report import Report

RATIO: Final = "Stoker is"
_WIDTH: Final = 960
_LABEL: Final = 420
_BAR: Final = _WIDTH - _LABEL - 120
_LINE: Final = 20
# A bar is as long as this many times; longer ones end in an arrow.
_LONGEST: Final = 12.0
_BEHIND: Final = "#c2410c"
_AHEAD: Final = "#2563eb"


def picture(reports: Sequence[Report], caption: str) -> str:
    """Draw how many times as good as each other system Stoker is; 1 is marked by a line.

    Args:
        reports: What the suites found; rows without a ratio are left out.
        caption: What stands below: commit, machine, date.
    """
    drawn = list(_draw(reports))
    height = 40 + _LINE * (len(drawn) + 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, line in enumerate(drawn):
        parts.append(f'<g transform="translate(0 {20 + number * _LINE})">{line}</g>')
    parts.append(f'<text x="10" y="{height - 12}" fill="#555">{escape(caption)}</text></svg>')
    return "\n".join(parts) + "\n"


def _draw(reports: Sequence[Report]) -> Iterator[str]:
    for report in reports:
        rows = [row for row in report.rows if RATIO in row.figures]
        if rows:
            yield f'<text x="10" y="14" font-weight="bold">{escape(report.suite)}</text>'
        for row in rows:
            ratio = row.figures[RATIO].median
            label = f"{row.case} · {row.system} {row.setting}".strip()
            length = _BAR * min(ratio, _LONGEST) / _LONGEST
            one = _LABEL + _BAR / _LONGEST
            yield (
                f'<text x="{_LABEL - 8}" y="14" text-anchor="end">{escape(label[:64])}</text>'
                f'<rect x="{_LABEL}" y="3" width="{length:.1f}" height="14" '
                f'fill="{_AHEAD if ratio >= 1 else _BEHIND}"/>'
                f'<line x1="{one:.1f}" x2="{one:.1f}" y1="0" y2="20" stroke="#111"/>'
                f'<text x="{_LABEL + length + 6:.1f}" y="14">{ratio:.2f}×'
                f"{' →' if ratio > _LONGEST else ''}</text>"
            )
