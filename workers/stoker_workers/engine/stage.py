"""A stage of the line: a thread that is started again when it dies, and whose jobs go back.

A stage outlives whatever an ordinary exception does to a job. What ends its thread all the same,
such as a pipeline's own code that calls `sys.exit()`, costs the jobs it had in hand a new delivery.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from stoker_workers.engine.delivery import Work
from stoker_workers.engine.faults import log_fault

logger = logging.getLogger(__name__)

# A stage that died is not well before it has lived for so many seconds.
WELL_SECONDS: Final = 60.0
# After so many deaths within that time it is not started again. Two jobs that kill it cause seven:
# a batch that they share, and three each until they are given up.
_DEATHS: Final = 8
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Lost:
    """What a stage had in hand when its thread died.

    Attributes:
        works: The jobs, of which the outlet has heard nothing final.
        suspects: Those of them that may be to blame; if it is one alone, it is.
    """

    works: Sequence[Work] = ()
    suspects: Sequence[Work] = ()


class Step(Protocol):
    """What a stage does again and again."""

    def next(self) -> bool:
        """Do it once; False if there is nothing more to do."""

    def lost(self) -> Lost:
        """Say what was in hand when `next` was left by an exception."""


class Stage:
    """One supervised thread.

    Args:
        name: Its name.
        step: What it does.
        give_back: Gives back what it had in hand. Runs in the dying thread.
        changed: Is told that it died.
    """

    def __init__(
        self,
        name: str,
        step: Step,
        give_back: Callable[[Lost], None],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self._step = step
        self._give_back = give_back
        self._changed = changed
        self._ended = threading.Event()
        self._deaths: list[float] = []

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name=f"stoker-{self.name}", daemon=True).start()

    def join(self, timeout: float) -> None:
        """Wait until it has ended for good."""
        self._ended.wait(timeout)

    def has_ended(self) -> bool:
        """Tell whether it has ended, and will not be started again."""
        return self._ended.is_set()

    def deaths(self) -> int:
        """Count its deaths within the last minute."""
        since = time.monotonic() - WELL_SECONDS
        return sum(at > since for at in list(self._deaths))

    def _run(self) -> None:
        try:
            while self._step.next():
                pass
        except BaseException as error:  # noqa: BLE001 - `sys.exit()` in a thread ends it as well
            self._died(error)
        else:
            self._ended.set()

    def _died(self, error: BaseException) -> None:
        log_fault(logger, f"the stage {self.name} died", error)
        self._deaths = [*self._deaths[1 - _DEATHS :], time.monotonic()]
        self._changed()
        try:
            self._give_back(self._step.lost())
        except Exception as fault:  # noqa: BLE001 - held by nobody, their leases would be renewed
            log_fault(logger, "its jobs could not be given back; the worker ends", fault)
            self._ended.set()
            return
        deaths = self.deaths()
        if deaths >= _DEATHS:
            self._ended.set()
            return
        time.sleep(min(_FIRST_PAUSE * 2 ** (deaths - 1), _LONGEST_PAUSE))
        logger.warning("the stage %s is started again", self.name)
        # A new thread: what the old one had to itself, such as PyTorch's modes, dies with it.
        self.start()
