"""Lets the engine's threads call into Celery's event loop, in order.

Acknowledgements and events belong to the loop's thread: a kombu channel is not safe for threads.
"""

import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from stoker_workers.engine.faults import log_fault

logger = logging.getLogger(__name__)


class LoopCalls:
    """Calls that wait for the event loop; a socket wakes it, once for many."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._wake_end, self._ring_end = socket.socketpair()
        self._wake_end.setblocking(False)
        self._ring_end.setblocking(False)

    def attach(self, hub: Any) -> None:
        """Listen in an event loop; to be called again whenever Celery has reconnected."""
        hub.add_reader(self._wake_end, self._on_ring)

    def put(self, call: Callable[[], None]) -> None:
        """Have a call made in the loop's thread, after those put before. Any thread may put."""
        self._calls.append(call)
        # A socket that is full holds rings that the loop has yet to hear.
        with suppress(BlockingIOError):
            self._ring_end.send(b"\0")

    def run(self) -> None:
        """Make all calls that wait; in the loop's thread only."""
        while self._calls:
            call = self._calls.popleft()
            try:
                call()
            except Exception as error:  # noqa: BLE001 - one call must not cost the others
                log_fault(logger, "a call into the event loop failed", error)

    def close(self) -> None:
        """Close the sockets."""
        self._wake_end.close()
        self._ring_end.close()

    def _on_ring(self) -> None:
        with suppress(BlockingIOError):
            self._wake_end.recv(4096)
        self.run()
