"""Who has had how much of the device: virtual device-seconds, as in fair queueing."""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)


class Shares(Generic[Name]):
    """The device time of those that have rows waiting, be they models or tenants.

    Start-time fair queueing (Goyal, Vin and Cheng, 1996): the turn is that of whoever has had
    least, and one who comes back after a pause begins at the least that another has had.
    """

    def __init__(self) -> None:
        self._used: dict[Name, float] = {}
        self._waiting: Counter[Name] = Counter()
        self._debts: dict[Name, float] = {}

    def of(self, name: Name) -> float:
        """Give the seconds that one has had."""
        return self._used.get(name, 0.0)

    def join(self, name: Name, rows: int) -> None:
        """Note rows that begin to wait; who had none waiting has saved up no claim."""
        waiting = self._waiting.get(name)
        if waiting is None:
            floor = min((self._used[each] for each in self._waiting), default=0.0)
            self._used[name] = max(self._used.get(name, 0.0), floor) + self._debts.pop(name, 0.0)
            # Those of the past are forgotten with the next one that comes.
            self._used = {each: self._used[each] for each in {*self._waiting, name}}
        self._waiting[name] = (waiting or 0) + rows

    def leave(self, name: Name, rows: int) -> None:
        """Note rows that wait no longer."""
        self._waiting[name] -= rows
        if self._waiting[name] <= 0:
            del self._waiting[name]

    def charge(self, name: Name, seconds: float, debt: float = 0.0) -> None:
        """Count device time.

        Args:
            name: Who has had it.
            seconds: How much of it.
            debt: What it has cost besides; one who has no more rows waiting pays it on coming back.
        """
        self._used[name] = self._used.get(name, 0.0) + seconds
        if name in self._waiting:
            self._used[name] += debt
        elif debt:
            self._debts[name] = self._debts.get(name, 0.0) + debt
