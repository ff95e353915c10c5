"""How many messages a worker may hold: kombu's count, which comes back from its limit unharmed."""

from collections.abc import Callable
from typing import Any

from kombu.common import QoS


class Prefetch(QoS):
    """A worker's prefetch count, which is one higher for each job that waits for its time.

    At its limit (`worker_eta_task_limit`) kombu's own forgets what is added, but takes off what
    ends: so it would come back lower each time, at last as 1, and with it every batch.

    Args:
        callback: Sets the count of a channel.
        initial_value: How many messages, when none waits for its time.
        max_prefetch: How many at most; any number if None.
    """

    prev: int | None = None

    def __init__(
        self, callback: Callable[..., Any], initial_value: int, max_prefetch: int | None = None
    ) -> None:
        most = None if max_prefetch is None else max(initial_value, max_prefetch)
        super().__init__(callback, initial_value, most)
        # What was added beyond the limit, to be taken off first.
        self._beyond = 0

    def increment_eventually(self, n: int = 1) -> int:
        """Count a job that waits for its time."""
        with self._mutex:
            added = n
            if self.max_prefetch is not None:
                added = min(n, max(0, self.max_prefetch - self.value))
            self._beyond += n - added
            return int(super().increment_eventually(added))

    def decrement_eventually(self, n: int = 1) -> int:
        """Count a job no more that is due."""
        with self._mutex:
            beyond = min(n, self._beyond)
            self._beyond -= beyond
            return int(super().decrement_eventually(n - beyond))

    def set(self, pcount: int) -> int:
        """Set the channel's count.

        Above 65535, the most that AMQP can say, kombu's own lifts the bound: on Redis, where any
        number can be said, the worker would then take the whole queue.
        """
        if pcount != self.prev:
            self.callback(prefetch_count=pcount)
            self.prev = pcount
        return pcount
