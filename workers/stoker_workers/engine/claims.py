"""The memory that loads wait for: who has it next, and who may pass whom.

A load may pass those that have waited for longer if it leaves each of them its room: if it fits
beside what that one waits for, all that has passed it before, and what is pinned. So whatever
stands in the way of the one that has waited longest was warm when it came, has its turn, and goes:
it waits for one turn and the jobs of then, however many small models are asked for meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from stoker_workers.engine.model import ModelKey


@dataclass(slots=True, eq=False)
class Claim:
    """What one load waits for.

    Attributes:
        size: How many bytes.
        passed: The models that were loaded while it waited.
    """

    size: int
    passed: set[ModelKey] = field(default_factory=set)


class Claims:
    """The loads that wait for memory, in the order in which they came. Not safe for threads."""

    def __init__(self) -> None:
        self._claims: dict[ModelKey, Claim] = {}

    def put(self, key: ModelKey, size: int) -> None:
        """Have a load wait for so many bytes, after all others."""
        self._claims[key] = Claim(size)

    def of(self, key: ModelKey) -> Claim | None:
        """Say what a load waits for; None if it waits for nothing."""
        return self._claims.get(key)

    def is_first(self, key: ModelKey) -> bool:
        """Whether no other has waited for longer."""
        return next(iter(self._claims), key) == key

    def may_pass(self, key: ModelKey, memory: int, kept: Callable[[set[ModelKey]], int]) -> bool:
        """Whether a load leaves their room to all that have waited for longer.

        Args:
            key: The load.
            memory: How many bytes there are for all.
            kept: Gives the bytes of these models, and of the pinned ones.
        """
        size = self._claims[key].size
        return all(kept(each.passed) + each.size + size <= memory for each in self._before(key))

    def settle(self, key: ModelKey) -> None:
        """Note that a load has what it waited for."""
        for each in self._before(key):
            each.passed.add(key)
        self.drop(key)

    def drop(self, key: ModelKey) -> None:
        """Note that a load waits no longer."""
        self._claims.pop(key, None)

    def _before(self, key: ModelKey) -> list[Claim]:
        order = list(self._claims)
        return [self._claims[each] for each in order[: order.index(key)]]
