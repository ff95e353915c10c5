"""Chooses which waiting rows share the next forward pass.

A batch is formed only when the device is free, so it holds what has come in meanwhile. Its seed is
chosen in three steps:

1. the priority: the highest that waits, but now and then the lowest, so that it never starves;
2. the model: the one that has had the device for the shortest time, so that a busy model takes
   nothing from a quiet one (virtual device-seconds, as in fair queueing);
3. the row: the oldest, and every other time the one whose time runs out next.

From the rows that may share a pass with the seed, sorted by length, its neighbours join it.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from math import inf
from typing import Final

from stoker_workers.engine.delivery import Work
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.window import Budget, Row, grow

# Every so many batches one is seeded by the lowest priority that waits.
_LOW_TURN: Final = 10


class _Kind:
    """The rows that may share a forward pass, by priority and in order of arrival."""

    def __init__(self, model: ModelKey) -> None:
        self.model = model
        self.lines: dict[int, deque[Row]] = {}

    def add(self, priority: int, row: Row) -> None:
        self.lines.setdefault(priority, deque()).append(row)

    def rows(self, first: int) -> Iterator[Row]:
        """Go through all rows, those of one priority first, then from the highest down."""
        yield from self.lines[first]
        for priority in sorted(self.lines):
            if priority != first:
                yield from self.lines[priority]

    def take(self, rows: list[Row]) -> None:
        taken = set(map(id, rows))
        for priority in {row.work.delivery.priority for row in rows}:
            left = deque(row for row in self.lines[priority] if id(row) not in taken)
            if left:
                self.lines[priority] = left
            else:
                del self.lines[priority]


class Batcher:
    """The waiting rows of one device. Not safe for threads: its owner locks.

    Args:
        budget_of: Says how large a batch of a model may grow.
    """

    def __init__(self, budget_of: Callable[[ModelKey], Budget]) -> None:
        self._budget_of = budget_of
        self._kinds: dict[Hashable, _Kind] = {}
        self._used: dict[ModelKey, float] = {}
        self._arrivals = 0
        self._batches = 0

    def __len__(self) -> int:
        return sum(len(line) for kind in self._kinds.values() for line in kind.lines.values())

    def add(self, work: Work) -> None:
        """Let a preprocessed job's rows wait."""
        assert work.prepared is not None
        assert work.key is not None
        self._arrivals += 1
        self._join(work.key)
        for position, chunk in enumerate(work.prepared.chunks):
            # A suspect is of a kind of its own.
            name = (work.key, chunk.key, id(work) if work.alone else None)
            kind = self._kinds.setdefault(name, _Kind(work.key))
            kind.add(work.delivery.priority, Row(work, position, chunk, self._arrivals))

    def form(self) -> list[Row]:
        """Take the rows of the next forward pass; an empty list if none wait."""
        if not self._kinds:
            return []
        self._batches += 1
        waiting = {priority for kind in self._kinds.values() for priority in kind.lines}
        low_turn = self._batches % _LOW_TURN == 0
        priority = max(waiting) if low_turn else min(waiting)
        name, kind = min(
            ((name, kind) for name, kind in self._kinds.items() if priority in kind.lines),
            key=lambda each: (self._used[each[1].model], each[1].lines[priority][0].arrival),
        )
        budget = self._budget_of(kind.model)
        window = list(islice(kind.rows(priority), budget.window))
        if self._batches % 2 == 0:
            _hurry(window, priority)
        chosen = grow(window, budget)
        kind.take(chosen)
        if not kind.lines:
            del self._kinds[name]
        return chosen

    def charge(self, model: ModelKey, seconds: float) -> None:
        """Count device time for a model: what it has had decides when its turn comes."""
        self._used[model] = self._used.get(model, 0.0) + seconds

    def _join(self, model: ModelKey) -> None:
        """Let a model in that had nothing waiting: it has saved up no claim to the device."""
        active = {kind.model for kind in self._kinds.values()}
        if model not in active:
            floor = min((self._used[each] for each in active), default=0.0)
            self._used[model] = max(self._used.get(model, 0.0), floor)
            # Models of the past are forgotten with the next one that comes.
            self._used = {each: self._used[each] for each in active | {model}}


def _hurry(window: list[Row], priority: int) -> None:
    """Put the row first whose time runs out next, if one of this priority has a time."""
    of_priority = (row for row in window if row.work.delivery.priority == priority)
    hurried = min(of_priority, key=lambda row: row.work.due, default=None)
    if hurried is not None and hurried.work.due < inf:
        window.remove(hurried)
        window.insert(0, hurried)
