"""How a model is loaded: a loader says how far it is, and stops where it asks for memory."""

from collections.abc import Generator
from typing import Final, Protocol, TypeVar

from stoker_workers.engine.model import WarmModel

Loaded = TypeVar("Loaded")

# A load on its way: yields how many bytes it needs before it takes any, goes on once they are free,
# and returns the model. Until it goes on, others may be loaded.
Course = Generator[int, None, WarmModel]


class Progress(Protocol):
    """Who is told while a model is loaded."""

    @property
    def wary(self) -> bool:
        """Whether the load may kill the process: it is to be tried in another one first."""

    def step(self, what: str, *, timed: bool = True) -> None:
        """Say what is being done, for those who look on.

        Args:
            what: In a word or two.
            timed: Whether it counts as hung if it takes too long; a download may take any time.
        """

    def took(self, size: int) -> None:
        """Say how many bytes the loaded model takes."""


class Unwatched:
    """Nobody is told."""

    @property
    def wary(self) -> bool:
        """Whether the load may kill the process; nobody thinks so."""
        return False

    def step(self, what: str, *, timed: bool = True) -> None:
        """Say what is being done."""

    def took(self, size: int) -> None:
        """Say what was taken."""


UNWATCHED: Final = Unwatched()


def at_once(course: Generator[int, None, Loaded]) -> Loaded:
    """Load a model where there is as much memory as there is."""
    while True:
        try:
            next(course)
        except StopIteration as ended:
            model: Loaded = ended.value
            return model
