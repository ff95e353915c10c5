"""What a loader tells while it loads a model."""

from typing import Final, Protocol


class Progress(Protocol):
    """Who is told: whoever gives out the memory, and whoever looks on."""

    def step(self, what: str) -> None:
        """Say what is being done, for those who look on."""

    def make_room(self, size: int) -> None:
        """Ask for so many bytes of memory; waits while models in use are let run out.

        Raises:
            ModelLoadFailed: There will never be so many.
        """

    def took(self, size: int) -> None:
        """Say how many bytes the loaded model takes."""


class Unwatched:
    """Nobody: there is as much memory as there is."""

    def step(self, what: str) -> None:
        """Say what is being done."""

    def make_room(self, size: int) -> None:
        """Ask for memory."""

    def took(self, size: int) -> None:
        """Say what was taken."""


UNWATCHED: Final = Unwatched()
