"""A network between some workers and Redis that can be cut or can fall silent."""

import asyncio
import contextlib
import threading
from typing import Final, Self

_CHUNK: Final = 65536


class Proxy:
    """Passes bytes on between a loopback port of its own and the server's.

    Args:
        target: The server's port.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._flow = asyncio.Event()
        self._flow.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-proxy", daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        """The server's URL by way of here."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self, seconds: float) -> None:
        """Drop all connections, and refuse new ones for a while."""
        self._loop.call_soon_threadsafe(self._cut, seconds)

    def stall(self, seconds: float) -> None:
        """Let no byte pass for a while; nobody is told."""
        self._loop.call_soon_threadsafe(self._stall, seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        # Without their connections all that serve them end by themselves.
        self._heal()
        self._drop()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server is away as well
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._writers |= pair
        there = asyncio.create_task(self._pass_on(reader, far_writer))
        back = asyncio.create_task(self._pass_on(far_reader, writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            self._writers -= pair
            for each in pair:
                each.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flow.wait()
                writer.write(data)
                await writer.drain()

    def _cut(self, seconds: float) -> None:
        self._refusing = True
        self._drop()
        self._loop.call_later(seconds, self._heal)

    def _stall(self, seconds: float) -> None:
        self._flow.clear()
        self._loop.call_later(seconds, self._heal)

    def _heal(self) -> None:
        self._refusing = False
        self._flow.set()

    def _drop(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()
