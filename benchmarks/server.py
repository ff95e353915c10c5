"""The Redis server that all durable systems share in turn, and what it counts."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from redis import Redis

from stoker.local.redis_server import EmbeddedRedis, find_redis_server, server_version
from stoker_config import keys

_AT_ONCE: Final = 500
# So seldom does the bench look whether a run is over, since a look takes part in it.
_LOOK_SECONDS: Final = 0.1
_STALLED: Final = 2.0


class Server:
    """A server of the bench's own, on a unix socket.

    Args:
        cache: Where a fetched server is kept.

    Attributes:
        url: As Stoker and redis-py take it.
        celery_url: As Celery takes it.
        version: The server's version.
    """

    def __init__(self, cache: Path) -> None:
        program = find_redis_server(cache)
        self._process = EmbeddedRedis(program)
        self.url = self._process.url
        self.celery_url = self.url.replace("unix://", "redis+socket://")
        self.version = ".".join(map(str, server_version(program) or ()))
        self.client: Any = Redis.from_url(self.url)
        self._own: Counter[str] = Counter()

    def stop(self) -> None:
        """End it."""
        self.client.close()
        self._process.stop()

    def clear(self) -> None:
        """Forget all keys and all counts."""
        self.client.flushall()
        self.client.config_resetstat()
        self._own.clear()

    def commands(self) -> dict[str, int]:
        """Count the commands since `clear`, with those inside scripts, without the bench's own."""
        counted = {
            name.removeprefix("cmdstat_").partition("|")[0]: int(stat["calls"])
            for name, stat in self.client.info("commandstats").items()
        }
        left = {name: calls - self._own[name] for name, calls in counted.items()}
        foreign = {"config", "flushall", "info"}
        return {name: calls for name, calls in left.items() if calls > 0 and name not in foreign}

    def uncount(self) -> None:
        """Start counting anew, keeping the keys."""
        self.client.config_resetstat()
        self._own.clear()

    def wait(self, ids: Sequence[str], patience: float) -> int:
        """Wait for the results of jobs, until none has come for a while.

        Args:
            ids: The jobs.
            patience: Seconds without a new result after which no more are waited for.

        Returns:
            How many have a result.
        """
        waiting = list(ids)
        last = time.monotonic()
        while waiting:
            stalled = time.monotonic() - last
            if stalled > patience:
                break
            # The oldest first: while they are missing, the others need not be asked for. But one
            # that is lost must not hide that others come.
            asked = waiting if stalled > _STALLED else waiting[:_AT_ONCE]
            missing = self._missing(asked)
            waiting = missing + waiting[len(asked) :]
            if len(missing) < len(asked):
                last = time.monotonic()
            if missing:
                time.sleep(_LOOK_SECONDS)
        return len(ids) - len(waiting)

    def _missing(self, ids: Sequence[str]) -> list[str]:
        self._own["exists"] += len(ids)
        with self.client.pipeline(transaction=False) as pipe:
            for each in ids:
                pipe.exists(keys.result(each))
            return [each for each, there in zip(ids, pipe.execute(), strict=True) if not there]

    def results(self, ids: Sequence[str]) -> list[bytes | None]:
        """Read what is stored for jobs, in their order; to be called after `commands`."""
        found: list[bytes | None] = []
        for start in range(0, len(ids), _AT_ONCE):
            chunk = [keys.result(each) for each in ids[start : start + _AT_ONCE]]
            found += self.client.mget(chunk)
            self._own["mget"] += 1
        return found
