"""Ends the process when its engine does no work any more, so that others get its jobs.

A hung device would hold its jobs for ever: their leases are renewed by another thread. A process
that is gone holds nothing: its supervisor, or the lapse of its leases, gives its jobs back.
"""

import logging
import os
import threading
from collections.abc import Callable
from typing import Final

from stoker_workers.exits import SOFTWARE

logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0


class Watchdog:
    """A thread that looks every second whether the engine works.

    Args:
        trouble: Says why the engine does no work any more; None if it does.
        end: Ends the process with an exit code, at once and without clean-up.
    """

    def __init__(
        self, trouble: Callable[[], str | None], end: Callable[[int], object] = os._exit
    ) -> None:
        self._trouble = trouble
        self._end = end
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stoker-watchdog", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            why = self._trouble()
            if why is not None:
                logger.critical("this worker ends: %s", why)
                logging.shutdown()
                self._end(SOFTWARE)
                return
