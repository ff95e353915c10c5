"""Chooses which waiting rows share the next forward pass.

A batch is formed only when the device is free, so it holds what has come in meanwhile. Rows of one
kind wait in order of arrival. The oldest of all is the seed of the next batch, so none starves;
from the first `window` rows of its kind, sorted by length, its nearest neighbours join it as long
as padding stays cheap.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import islice

from stoker_workers.engine.delivery import Work
from stoker_workers.engine.model import Chunk


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How large a batch may grow.

    Attributes:
        tokens: The most padded tokens: rows times the longest of them. A single row may be larger.
        rows: The most rows.
        window: From how many rows, in order of arrival, a batch is chosen.
        efficiency: The least share of useful tokens among the padded ones.
        overhead: Padding up to this many tokens is cheaper than another forward pass.
    """

    tokens: int
    rows: int = 64
    window: int = 256
    efficiency: float = 0.9
    overhead: int = 16


@dataclass(frozen=True, slots=True, eq=False)
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


class Batcher:
    """The waiting rows of one device. Not safe for threads: its owner locks.

    Args:
        budget: How large a batch may grow.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._kinds: dict[Hashable, deque[Row]] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._kinds.values())

    def add(self, work: Work) -> None:
        """Let a preprocessed job's rows wait."""
        assert work.prepared is not None
        self._arrivals += 1
        for position, chunk in enumerate(work.prepared.chunks):
            # A suspect is of a kind of its own.
            kind = (work.key, chunk.key, id(work) if work.alone else None)
            rows = self._kinds.setdefault(kind, deque())
            rows.append(Row(work, position, chunk, self._arrivals))

    def form(self) -> list[Row]:
        """Take the rows of the next forward pass; an empty list if none wait."""
        if not self._kinds:
            return []
        kind = min(self._kinds, key=lambda each: self._kinds[each][0].arrival)
        rows = self._kinds[kind]
        window = list(islice(rows, self._budget.window))
        chosen = grow(window, self._budget)
        taken = set(map(id, chosen))
        for _ in window:
            rows.popleft()
        rows.extendleft(row for row in reversed(window) if id(row) not in taken)
        if not rows:
            del self._kinds[kind]
        return chosen

    def clear(self) -> list[Work]:
        """Take all waiting jobs out, in order of arrival."""
        rows = [row for kind in self._kinds.values() for row in kind]
        self._kinds.clear()
        rows.sort(key=lambda row: (row.arrival, row.position))
        return list(dict.fromkeys(row.work for row in rows))


def grow(window: Sequence[Row], budget: Budget) -> list[Row]:
    """Choose a batch around the oldest row of a window.

    Args:
        window: Rows that may share a pass, in order of arrival; at least one.
        budget: How large the batch may grow.

    Returns:
        The first row and those nearest to it in length, as many as the budget allows.
    """
    order = sorted(range(len(window)), key=lambda index: window[index].chunk.length)
    low = high = order.index(0)
    lengths = [window[index].chunk.length for index in order]
    longest = useful = lengths[low]
    while high - low + 1 < budget.rows:
        count = high - low + 1
        # In padding, a shorter neighbour costs its own, a longer one everybody's.
        shorter = longest - lengths[low - 1] if low > 0 else None
        longer = (lengths[high + 1] - longest) * count if high + 1 < len(lengths) else None
        if shorter is None and longer is None:
            break
        if longer is None or (shorter is not None and shorter <= longer):
            low, gain, width = low - 1, lengths[low - 1], longest
            back = (low + 1, high)
        else:
            high, gain, width = high + 1, lengths[high + 1], lengths[high + 1]
            back = (low, high - 1)
        padded = (count + 1) * width
        waste = padded - useful - gain
        cheap = waste <= budget.overhead or useful + gain >= budget.efficiency * padded
        if padded > budget.tokens or not cheap:
            low, high = back
            break
        longest, useful = width, useful + gain
    return [window[order[at]] for at in range(low, high + 1)]
