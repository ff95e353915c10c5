"""Whose turn it is: mostly the first one's, now and then that of who has had none for longest."""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

# Every so many turns one is that of whoever has had none for longest.
EVERY: Final = 10

Name = TypeVar("Name", bound=Hashable)


class Turns(Generic[Name]):
    """The turns of those that wait in an order, be they priorities or lists.

    Of n of them, whoever waits has a turn within `EVERY` * n turns, whatever comes and goes
    meanwhile: one that has had a turn stands behind all who wait, so each of the others comes at
    most once more before one of these. It is within `EVERY` * (n - 1) while the first waits too,
    which has the turns between.
    """

    def __init__(self) -> None:
        self._count = 0
        self._had: dict[Name, int] = {}

    def due(self) -> bool:
        """Begin a turn, and tell whether it is that of whoever has had none for longest."""
        self._count += 1
        return self._count % EVERY == 0

    def last(self, name: Name) -> int:
        """Give when one has had its last turn: the lower, the longer ago."""
        return self._had.get(name, 0)

    def had(self, name: Name) -> None:
        """Note that the turn which was begun last is one's own."""
        self._had[name] = self._count
