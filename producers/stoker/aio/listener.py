"""Waits for results and texts: one task and one connection of a client's, however many wait."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from typing import Any, Final

from stoker.following import Reader
from stoker.watch import FIRST_PAUSE, KEEP_ALIVE, LONGEST_PAUSE, Watch
from stoker_config import keys
from stoker_tasks.result import Result

_READ_AT_ONCE: Final = 500


class AsyncListener:
    """Tells whoever waits for results when they come; of one event loop.

    Its task and its connection are there only while somebody waits, and some seconds longer.

    Args:
        client: A client of redis.asyncio, with which results are read.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._watch = Watch()
        self._task: asyncio.Task[None] | None = None
        self._bell = asyncio.Event()

    async def results(
        self, job_ids: Sequence[str], timeout: float | None
    ) -> AsyncIterator[tuple[str, Result]]:
        """Give the results of jobs as they come; see the blocking listener.

        Raises:
            TimeoutError: Some were not finished in time.
            redis.ConnectionError: There is no server; one that goes away later is waited for.
        """
        inbox: asyncio.Queue[tuple[str, Result | Exception]] = asyncio.Queue()
        left = dict.fromkeys(job_ids)
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout

        def waiter(job_id: str, found: Result | Exception) -> None:
            inbox.put_nowait((job_id, found))

        if timeout is None or timeout > 0:
            self._listen(list(left), waiter)
        try:
            while left:
                try:
                    async with asyncio.timeout_at(deadline):
                        job_id, found = await inbox.get()
                except TimeoutError:
                    break
                if isinstance(found, Exception):
                    raise copy(found)  # each of those who wait has a traceback of its own
                del left[job_id]
                yield job_id, found
        finally:
            if left:
                self._watch.remove(left, waiter)
                self._bell.set()
        if left:
            # What was there before anybody listened is given even when no time is left.
            seen = Watch()
            seen.add(left, waiter)
            await self._read(list(left), seen)
            while not inbox.empty():
                job_id, found = inbox.get_nowait()
                if not isinstance(found, Exception) and job_id in left:
                    del left[job_id]
                    yield job_id, found
        if left:
            raise TimeoutError(f"{len(left)} jobs were not finished within {timeout} s")

    @contextmanager
    def follow(self, reader: Reader) -> Iterator[None]:
        """Tell a reader of a job's text what is new; see the blocking listener."""
        self._watch.follow(reader)
        try:
            self._start()
            yield
        finally:
            self._watch.unfollow(reader)
            self._bell.set()

    async def close(self) -> None:
        """Stop listening; those that still wait are told."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._watch.fail(RuntimeError("the client was closed while its results were waited for"))

    def _listen(self, job_ids: Sequence[str], waiter: Any) -> None:
        self._watch.add(job_ids, waiter)
        self._start()

    def _start(self) -> None:
        self._bell.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="stoker-results")

    async def _run(self) -> None:
        import redis

        connected, pause = False, FIRST_PAUSE
        while self._watch:
            connection = None
            try:
                connection = self._new_connection()
                await connection.connect()
                # It may be silent for as long as nothing ends; `_serve` asks whether it lives.
                connection.socket_timeout = None
                connected, pause = True, FIRST_PAUSE
                self._watch.again()
                await self._serve(connection)
            except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                if not connected:
                    self._watch.fail(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001 - those who wait have to hear of it
                self._watch.fail(error)
            finally:
                if connection is not None:
                    await connection.disconnect(nowait=True)

    def _new_connection(self) -> Any:
        from stoker_config.servers import options_of

        own = {"protocol": 2, "health_check_interval": 0}
        return self._client.connection_pool.connection_class(**{**options_of(self._client), **own})

    async def _serve(self, connection: Any) -> None:
        """Say, hear and read until nobody waits any more, or the connection is lost."""
        import redis

        heard: deque[Any] = deque()
        hearing = asyncio.create_task(self._hear(connection, heard))
        hearing.add_done_callback(lambda _: self._bell.set())
        asked = False
        try:
            while not hearing.done():
                for command in self._watch.commands():
                    await _say(connection, *command)
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        await self._bell.wait()
                except TimeoutError:
                    if not self._watch:
                        return
                    if asked:
                        raise redis.ConnectionError("the server has fallen silent") from None
                    await _say(connection, "PING")
                    asked = True
                    continue
                self._bell.clear()
                unread: list[str] = []
                while heard:
                    asked = False
                    unread += self._watch.hear(heard.popleft())
                await self._read(unread, self._watch)
                await self._read_texts()
            hearing.result()
        finally:
            hearing.cancel()
            with suppress(asyncio.CancelledError, redis.RedisError, OSError):
                await hearing

    async def _hear(self, connection: Any, heard: deque[Any]) -> None:
        while True:
            heard.append(await connection.read_response())
            self._bell.set()

    async def _read_texts(self) -> None:
        due = self._watch.due()
        while due:
            ends = [reader.end for reader in due]
            async with self._client.pipeline(transaction=False) as pipe:
                for reader in due:
                    pipe.xrange(*reader.question())
                answers = zip(due, await pipe.execute(), ends, strict=True)
            due = [reader for reader, found, end in answers if not reader.answer(found, end)]

    async def _read(self, job_ids: Sequence[str], watch: Watch) -> None:
        for start in range(0, len(job_ids), _READ_AT_ONCE):
            some = job_ids[start : start + _READ_AT_ONCE]
            values = await self._client.mget([keys.result(job_id) for job_id in some])
            for job_id, stored in zip(some, values, strict=True):
                watch.tell(job_id, stored)


async def _say(connection: Any, *command: str) -> None:
    await connection.send_command(*command, check_health=False)
