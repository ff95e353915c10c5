"""One Redis server as an asyncio producer sees it: its client, its clock, its registry."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

from stoker_config.settings import Settings

if TYPE_CHECKING:
    from stoker.aio.listener import AsyncListener
    from stoker_config.serving import Serving


class AsyncServer:
    """The connections of one asyncio client, each opened when it is first used.

    Args:
        settings: Where the server is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._parts: dict[str, Any] = {}

    @property
    def redis(self) -> Any:
        """A client of redis.asyncio."""
        return self._client("redis", self._settings)

    @property
    def results(self) -> Any:
        """A client of redis.asyncio of the server that holds results."""
        if not self._settings.apart:
            return self.redis
        return self._client("results", self._settings.of_results)

    @property
    def listener(self) -> "AsyncListener":
        """What waits for results."""
        if "listener" not in self._parts:
            from stoker.aio.listener import AsyncListener

            self._parts["listener"] = AsyncListener(self.results)
        listener: AsyncListener = self._parts["listener"]
        return listener

    @property
    def looking(self) -> asyncio.Lock:
        """What one who waits holds while it looks for where results go."""
        lock: asyncio.Lock = self._parts.setdefault("looking", asyncio.Lock())
        return lock

    async def now(self) -> float:
        """Give seconds since the epoch by the server's clock."""
        from stoker_config.clock import ServerClock

        if "clock" not in self._parts:
            self._parts["clock"] = ServerClock()
        clock: ServerClock = self._parts["clock"]
        if clock.is_stale():
            began = time.monotonic()
            clock.learn(await self.redis.time(), began)
        return clock.now()

    async def served(self) -> "tuple[list[Serving], list[str]]":
        """Read the registry: the living workers, and the pools that were served lately."""
        from stoker_config import serving

        now = await self.now()
        async with self.redis.pipeline(transaction=False) as pipe:
            serving.ask(pipe, now)
            return serving.tell(await pipe.execute())

    async def close(self) -> None:
        """Close all connections; they are opened again if they are used again."""
        parts, self._parts = self._parts, {}
        if "listener" in parts:
            await parts["listener"].close()
        for name in ("redis", "results"):
            if name in parts:
                await parts[name].aclose()

    def _client(self, name: str, settings: Settings) -> Any:
        if name not in self._parts:
            from stoker_config.servers import connect_async

            self._parts[name] = connect_async(settings)
        return self._parts[name]
