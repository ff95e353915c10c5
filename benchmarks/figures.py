"""What repeated measurements say: a median, and how far apart they lay."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

# Below this a difference between two settings is this machine's noise, not the setting's doing.
NOISE: Final = 0.05


@dataclass(frozen=True)
class Figure:
    """One measure of one system, over all rounds.

    Attributes:
        values: What each round gave.
        unit: Such as `jobs/s`.
        digits: How many digits after the point are worth showing.
    """

    values: tuple[float, ...]
    unit: str
    digits: int = 1

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)

    def __str__(self) -> str:
        shown = f"{self.median:.{self.digits}f}"
        if len(self.values) > 1:
            low, high = min(self.values), max(self.values)
            shown += f" ({low:.{self.digits}f}–{high:.{self.digits}f})"
        return f"{shown} {self.unit}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """Give all there is to know."""
        return {"median": self.median, "values": list(self.values), "unit": self.unit}


def ratios(ours: Sequence[float], theirs: Sequence[float], digits: int = 2) -> Figure:
    """Divide round by round: what slows a whole round down slows both.

    Args:
        ours: What each round gave for one system.
        theirs: The same for the other.
        digits: As for a figure.
    """
    return Figure(tuple(a / b for a, b in zip(ours, theirs, strict=True)), "×", digits)


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def rate(stamps: Sequence[float], skip: float = 0.2) -> float:
    """Give jobs a second between the mark where a share of them was done and the last one.

    Args:
        stamps: When each job was done, in seconds.
        skip: The share that is left out, in which a system warms up.

    Raises:
        ValueError: Those that count have one stamp, as those of a single batch have.
    """
    ordered = sorted(stamps)
    first = int(skip * len(ordered))
    passed = ordered[-1] - ordered[first]
    if not passed:
        raise ValueError(f"{len(ordered)} jobs ended in one batch: measure more to know their rate")
    return (len(ordered) - 1 - first) / passed
