"""Grows a batch around one row: its neighbours in length, as long as padding stays cheap."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stoker_workers.engine.delivery import Work
from stoker_workers.engine.model import Chunk

# Why a batch is no larger: nothing else waits that could join it; it has as many rows, or as many
# tokens, as it may have; or all that waits differs too much in length.
Reason = Literal["drained", "rows", "tokens", "padding"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How large a batch may grow.

    Attributes:
        tokens: The most padded tokens: rows times the longest of them. A single row may be larger.
        rows: The most rows.
        window: From how many rows a batch is chosen.
        efficiency: The least share of useful tokens among the padded ones.
        overhead: Padding up to this many tokens is cheaper than another forward pass.
    """

    tokens: int
    rows: int = 64
    window: int = 256
    efficiency: float = 0.9
    overhead: int = 16


@dataclass(slots=True, eq=False)  # not frozen, which would take twice as long to make
class Row:
    """One chunk of one job, waiting for the device.

    Attributes:
        work: The job.
        position: Which of its chunks this is.
        chunk: The chunk.
        arrival: A number that grows with each job that becomes ready.
    """

    work: Work
    position: int
    chunk: Chunk
    arrival: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one forward pass.

    Attributes:
        rows: At least one.
        reason: Why there are not more.
        since: Since when rows have waited without a break, these or others, in monotonic seconds;
            0 if that is not known.
    """

    rows: list[Row]
    reason: Reason
    since: float = 0.0


def grow(window: Sequence[Row], budget: Budget) -> Batch:
    """Choose a batch around the first row of a window.

    Args:
        window: Rows that may share a pass, the one that must be in it first.
        budget: How large the batch may grow.

    Returns:
        The first row and those nearest to it in length, as many as the budget allows.
    """
    order = sorted(range(len(window)), key=lambda index: window[index].chunk.length)
    low = high = order.index(0)
    lengths = [window[index].chunk.length for index in order]
    longest = useful = lengths[low]
    reason: Reason = "rows"
    while high - low + 1 < budget.rows:
        count = high - low + 1
        # In padding, a shorter neighbour costs its own, a longer one everybody's.
        shorter = longest - lengths[low - 1] if low > 0 else None
        longer = (lengths[high + 1] - longest) * count if high + 1 < len(lengths) else None
        if shorter is not None and (longer is None or shorter <= longer):
            taken, width, grown = low - 1, longest, (low - 1, high)
        elif longer is not None:
            taken, width, grown = high + 1, lengths[high + 1], (low, high + 1)
        else:
            reason = "drained"
            break
        padded, with_it = (count + 1) * width, useful + lengths[taken]
        cheap = padded - with_it <= budget.overhead or with_it >= budget.efficiency * padded
        if padded > budget.tokens or not cheap:
            reason = "padding" if padded <= budget.tokens else "tokens"
            break
        (low, high), longest, useful = grown, width, with_it
    return Batch([window[order[at]] for at in range(low, high + 1)], reason)
