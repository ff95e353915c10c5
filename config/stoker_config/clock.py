"""The Redis server's clock: the one that producers and workers share, whatever their own say."""

import logging
import time
from typing import Any, Final

logger = logging.getLogger(__name__)

DAY: Final = 86_400

# For so long a process's own steady clock is trusted to run as fast as the server's.
_SECONDS: Final = 60.0


class ServerClock:
    """Tells the server's time, and asks the server once a minute. Safe for threads.

    Args:
        client: A redis-py client; None if somebody else asks, before the time is told.
    """

    def __init__(self, client: Any = None) -> None:
        self._client = client
        self._offset: float | None = None
        self._read_at = 0.0

    def now(self) -> float:
        """Give seconds since the epoch.

        Raises:
            redis.RedisError: The server was never reached.
        """
        if self._client is not None and self.is_stale():
            self._read()
        assert self._offset is not None
        return time.monotonic() + self._offset

    def is_stale(self) -> bool:
        """Tell whether the server is to be asked."""
        return self._offset is None or time.monotonic() - self._read_at > _SECONDS

    def learn(self, answer: tuple[int, int], began: float) -> None:
        """Take the server's answer.

        Args:
            answer: What TIME gave: seconds and microseconds.
            began: When it was asked, in monotonic seconds.
        """
        seconds, microseconds = answer
        ended = time.monotonic()
        self._offset = seconds + microseconds / 1e6 - (began + ended) / 2
        self._read_at = ended

    def _read(self) -> None:
        import redis

        began = time.monotonic()
        try:
            self.learn(self._client.time(), began)
        except redis.RedisError as error:
            if self._offset is None:
                raise
            # The server is away: the time goes on, and the server is asked again later.
            logger.debug("the server's time is not to be had: %s", type(error).__name__)
            self._read_at = time.monotonic()
