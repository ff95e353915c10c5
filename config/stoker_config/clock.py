"""The Redis server's clock: the one that producers and workers share, whatever their own say."""

import logging
import time
from typing import Any, Final

logger = logging.getLogger(__name__)

# For so long a process's own steady clock is trusted to run as fast as the server's.
_SECONDS: Final = 60.0


class ServerClock:
    """Tells the server's time, and asks the server once a minute. Safe for threads.

    Args:
        client: A redis-py client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._offset: float | None = None
        self._read_at = 0.0

    def now(self) -> float:
        """Give seconds since the epoch.

        Raises:
            redis.RedisError: The server was never reached.
        """
        if self._offset is None or time.monotonic() - self._read_at > _SECONDS:
            self._read()
        assert self._offset is not None
        return time.monotonic() + self._offset

    def _read(self) -> None:
        import redis

        began = time.monotonic()
        try:
            seconds, microseconds = self._client.time()
        except redis.RedisError as error:
            if self._offset is None:
                raise
            # The server is away: the time goes on, and the server is asked again later.
            logger.debug("the server's time is not to be had: %s", type(error).__name__)
            self._read_at = time.monotonic()
            return
        ended = time.monotonic()
        self._offset = seconds + microseconds / 1e6 - (began + ended) / 2
        self._read_at = ended
