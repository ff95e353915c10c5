"""Ctrl-C, SIGTERM and a closed terminal, as a request that is honoured between two steps."""

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

from stoker.local.errors import Interrupted

# Sleeps for so many seconds; may raise `Interrupted` instead.
Pause = Callable[[float], None]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# How late a request may be noticed, in seconds.
_SLICE: Final = 0.1


class Stop:
    """Collects requests to stop while it is entered; only for a process's main thread.

    An exception out of a signal handler could strike between the start of a process and its being
    written down. So the handler only counts, and whoever waits does so by `pause`.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """Whether a request has come."""
        return self._asked > 0

    def urgent(self) -> bool:
        """Say whether a second request has come: then nothing is waited for any more."""
        return self._asked > 1

    def pause(self, seconds: float) -> None:
        """Sleep.

        Args:
            seconds: For how long.

        Raises:
            Interrupted: A request has come, before or meanwhile.
        """
        end = time.monotonic() + seconds
        while not self._asked:
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _SLICE))
        raise Interrupted("stopped on request")

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
