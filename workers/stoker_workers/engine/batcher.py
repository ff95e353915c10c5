"""Chooses which waiting rows share the next forward pass.

A batch is formed only when the device is free, so it holds what has come in meanwhile. Its seed is
chosen in four steps:

1. the priority: the highest that waits, but in every tenth batch the one that has seeded none for
   longest. So of the four each seeds one in 40, and in 30 while the highest waits all the time;
2. the model: the one that has had the device for the shortest time, so that a busy model takes
   nothing from a quiet one (virtual device-seconds, as in fair queueing, and seconds of loading if
   others had to go for it);
3. the tenant: likewise;
4. the row: the oldest, and every other time the one whose time runs out next. Each priority of
   each kind of rows counts its own times: in one count, the tenth batch would always be the same.

From the rows that may share a pass with the seed, sorted by length, its neighbours join it. They
are looked for among as many of each tenant's.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice, zip_longest
from math import inf

from stoker_workers.engine.delivery import Work
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.shares import Shares
from stoker_workers.engine.turns import Turns
from stoker_workers.engine.window import Batch, Budget, Row, grow

Share = Callable[[str], float]


class _Kind:
    """The rows that may share a forward pass, by priority and tenant, in order of arrival."""

    def __init__(self, model: ModelKey) -> None:
        self.model = model
        self.lines: dict[int, dict[str, deque[Row]]] = {}
        # How many batches rows of each priority have seeded.
        self.seeds: Counter[int] = Counter()

    def add(self, row: Row) -> None:
        work = row.work
        lines = self.lines.setdefault(work.delivery.priority, {})
        line = lines.get(work.tenant)
        if line is None:
            line = lines[work.tenant] = deque()
        line.append(row)

    def oldest(self, priority: int) -> int:
        """Give the arrival of the oldest row of a priority."""
        return min(line[0].arrival for line in self.lines[priority].values())

    def rows(self, first: int, share: Share) -> Iterator[Row]:
        """Go through all rows, those of one priority first, then from the highest down.

        Within a priority the tenants take turns, the one that has had least first.
        """
        others = [priority for priority in sorted(self.lines) if priority != first]
        for priority in (first, *others):
            lines = sorted(
                self.lines[priority].values(),
                key=lambda line: (share(line[0].work.tenant), line[0].arrival),
            )
            for turn in zip_longest(*lines):
                yield from (row for row in turn if row is not None)

    def take(self, rows: Sequence[Row]) -> None:
        taken = set(map(id, rows))
        for priority, tenant in {(row.work.delivery.priority, row.work.tenant) for row in rows}:
            lines = self.lines[priority]
            lines[tenant] = deque(row for row in lines[tenant] if id(row) not in taken)
            if not lines[tenant]:
                del lines[tenant]
            if not lines:
                del self.lines[priority]


class Batcher:
    """The waiting rows of one device. Not safe for threads: its owner locks.

    Args:
        budget_of: Says how large a batch of a model may grow.
    """

    def __init__(self, budget_of: Callable[[ModelKey], Budget]) -> None:
        self._budget_of = budget_of
        self._kinds: dict[Hashable, _Kind] = {}
        self._priorities: Turns[int] = Turns()
        self._models: Shares[ModelKey] = Shares()
        self._tenants: Shares[str] = Shares()
        # What each model's loading cost, until its next batch pays for it.
        self._owed: dict[ModelKey, float] = {}
        self._waiting = 0
        # Since when some row has waited without a break.
        self._since = 0.0
        self._arrivals = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, work: Work) -> None:
        """Let a preprocessed job's rows wait."""
        assert work.prepared is not None
        assert work.key is not None
        self._arrivals += 1
        count = len(work.prepared.chunks)
        if not self._waiting:
            self._since = work.ready
        self._waiting += count
        self._models.join(work.key, count)
        self._tenants.join(work.tenant, count)
        for position, chunk in enumerate(work.prepared.chunks):
            # A suspect is of a kind of its own.
            name = (work.key, chunk.key, id(work) if work.alone else None)
            kind = self._kinds.get(name)
            if kind is None:
                kind = self._kinds[name] = _Kind(work.key)
            kind.add(Row(work, position, chunk, self._arrivals))

    def form(self) -> Batch | None:
        """Take the rows of the next forward pass; None if none wait."""
        if not self._kinds:
            return None
        waiting = {priority for kind in self._kinds.values() for priority in kind.lines}
        turns = self._priorities
        priority = min(waiting, key=turns.last) if turns.due() else min(waiting)
        turns.had(priority)
        name, kind = min(
            ((name, kind) for name, kind in self._kinds.items() if priority in kind.lines),
            key=lambda each: (self._models.of(each[1].model), each[1].oldest(priority)),
        )
        budget = self._budget_of(kind.model)
        window = list(islice(kind.rows(priority, self._tenants.of), budget.window))
        kind.seeds[priority] += 1
        if kind.seeds[priority] % 2 == 0:
            _hurry(window, priority)
        batch = grow(window, budget)
        kind.take(batch.rows)
        if not kind.lines:
            del self._kinds[name]
        self._waiting -= len(batch.rows)
        self._models.leave(kind.model, len(batch.rows))
        for tenant, count in Counter(row.work.tenant for row in batch.rows).items():
            self._tenants.leave(tenant, count)
        return Batch(batch.rows, batch.reason, self._since)

    def owe(self, model: ModelKey, seconds: float) -> None:
        """Note what a model's loading cost for which others had to go.

        It is counted as device time of the model's own with its next batch, and not before: it has
        been loaded because jobs wait for it.
        """
        self._owed[model] = self._owed.get(model, 0.0) + seconds

    def charge(self, rows: Sequence[Row], seconds: float) -> None:
        """Count a batch's device time: what each has had decides when its turn comes."""
        key = rows[0].work.key
        assert key is not None
        self._models.charge(key, seconds, self._owed.pop(key, 0.0))
        total = sum(row.chunk.length for row in rows)
        for row in rows:
            self._tenants.charge(row.work.tenant, seconds * row.chunk.length / total)


def _hurry(window: list[Row], priority: int) -> None:
    """Put the row first whose time runs out next, if one of this priority has a time."""
    of_priority = (row for row in window if row.work.delivery.priority == priority)
    hurried = min(of_priority, key=lambda row: row.work.due, default=None)
    if hurried is not None and hurried.work.due < inf:
        window.remove(hurried)
        window.insert(0, hurried)
