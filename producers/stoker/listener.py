"""Waits for results and texts: one thread and one connection of a client's, however many wait."""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from queue import Empty, SimpleQueue
from typing import Any

from stoker.following import Reader
from stoker.watch import FIRST_PAUSE, KEEP_ALIVE, LONGEST_PAUSE, Watch
from stoker_config import keys
from stoker_tasks.result import Result

_READ_AT_ONCE = 500


class Listener:
    """Tells whoever waits for results when they come. Safe for threads.

    Its thread and its connection are there only while somebody waits, and some seconds longer.

    Args:
        client: A redis-py client, with which results are read.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._watch = Watch()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._bell: socket.socket | None = None
        self._closed = False

    def results(
        self, job_ids: Sequence[str], timeout: float | None
    ) -> Iterator[tuple[str, Result]]:
        """Give the results of jobs as they come.

        Args:
            job_ids: The jobs.
            timeout: Seconds to wait for all of them; for ever if None.

        Raises:
            TimeoutError: Some were not finished in time.
            redis.ConnectionError: There is no server; one that goes away later is waited for.
        """
        inbox: SimpleQueue[tuple[str, Result | Exception]] = SimpleQueue()
        deadline = None if timeout is None else time.monotonic() + timeout
        left = dict.fromkeys(job_ids)

        def waiter(job_id: str, found: Result | Exception) -> None:
            inbox.put((job_id, found))

        if timeout is None or timeout > 0:
            self._listen(list(left), waiter)
        try:
            while left:
                try:
                    spare = None if deadline is None else max(0.0, deadline - time.monotonic())
                    job_id, found = inbox.get(timeout=spare)
                except Empty:
                    break
                if isinstance(found, Exception):
                    raise copy(found)  # each of those who wait has a traceback of its own
                del left[job_id]
                yield job_id, found
        finally:
            self._forget(list(left), waiter)
        if left:
            yield from self._last_look(left, timeout)

    @contextmanager
    def follow(self, reader: Reader) -> Iterator[None]:
        """Tell a reader of a job's text what is new, while the context lasts.

        Args:
            reader: The reader, which is called in this listener's thread.
        """
        try:
            self._start(lambda: self._watch.follow(reader))
            yield
        finally:
            with self._lock:
                self._watch.unfollow(reader)
                self._ring()

    def close(self) -> None:
        """Stop listening; those that still wait are told."""
        with self._lock:
            self._closed = True
            thread = self._thread
            self._ring()
        self._watch.fail(RuntimeError("the client was closed while its results were waited for"))
        if thread is not None and thread.is_alive():
            thread.join()

    def _last_look(
        self, left: dict[str, None], timeout: float | None
    ) -> Iterator[tuple[str, Result]]:
        """Read once more what may have been there before anybody listened."""
        found: list[tuple[str, Result]] = []

        def waiter(job_id: str, result: Result | Exception) -> None:
            if not isinstance(result, Exception):
                found.append((job_id, result))

        seen = Watch()
        seen.add(left, waiter)
        self._read(list(left), seen)
        for job_id, result in found:
            del left[job_id]
            yield job_id, result
        if left:
            raise TimeoutError(f"{len(left)} jobs were not finished within {timeout} s")

    def _listen(self, job_ids: Sequence[str], waiter: Any) -> None:
        self._start(lambda: self._watch.add(job_ids, waiter))

    def _start(self, watch: Callable[[], None]) -> None:
        with self._lock:
            watch()
            # A fork inherits neither the thread nor its connection.
            if self._thread is None or not self._thread.is_alive():
                self._closed = False
                ear, self._bell = socket.socketpair()
                ear.setblocking(False)
                self._bell.setblocking(False)
                self._thread = threading.Thread(
                    target=self._run, args=(ear,), name="stoker-results", daemon=True
                )
                self._thread.start()
            else:
                self._ring()

    def _forget(self, job_ids: Sequence[str], waiter: Any) -> None:
        if job_ids:
            with self._lock:
                self._watch.remove(job_ids, waiter)
                self._ring()

    def _ring(self) -> None:
        if self._bell is not None:
            # A socket that is full holds rings that are yet to be heard.
            with suppress(OSError):
                self._bell.send(b"\0")

    def _run(self, ear: socket.socket) -> None:
        import redis

        connected, pause = False, FIRST_PAUSE
        with ear:
            while not self._is_over():
                connection = None
                try:
                    connection = self._new_connection()
                    connection.connect()
                    connected, pause = True, FIRST_PAUSE
                    self._watch.again()
                    self._serve(connection, ear)
                except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                    if not connected:
                        self._watch.fail(error)
                    time.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                except Exception as error:  # noqa: BLE001 - those who wait have to hear of it
                    self._watch.fail(error)
                finally:
                    if connection is not None:
                        connection.disconnect()

    def _is_over(self) -> bool:
        with self._lock:
            if self._watch and not self._closed:
                return False
            self._thread = None
            if self._bell is not None:
                self._bell.close()
            return True

    def _new_connection(self) -> Any:
        from stoker_config.servers import options_of

        own = {"protocol": 2, "health_check_interval": 0}
        return self._client.connection_pool.connection_class(**{**options_of(self._client), **own})

    def _serve(self, connection: Any, ear: socket.socket) -> None:
        """Say, hear and read until nobody waits any more, or the connection is lost."""
        import redis

        asked = False
        with selectors.DefaultSelector() as selector:
            selector.register(ear, selectors.EVENT_READ)
            heard = selector.register(connection._sock, selectors.EVENT_READ)
            while not self._closed:
                for command in self._watch.commands():
                    _say(connection, *command)
                ready = {key.fd for key, _ in selector.select(KEEP_ALIVE)}
                if not ready:
                    if not self._watch:
                        return
                    if asked:
                        raise redis.ConnectionError("the server has fallen silent")
                    _say(connection, "PING")
                    asked = True
                with suppress(BlockingIOError):
                    ear.recv(4096)
                if heard.fd in ready:
                    asked = False
                    unread: list[str] = []
                    while connection.can_read(timeout=0):
                        unread += self._watch.hear(connection.read_response())
                    self._read(unread, self._watch)
                    self._read_texts()

    def _read_texts(self) -> None:
        """Read for all who are due in one round trip, and again for those of whom there is more."""
        due = self._watch.due()
        while due:
            ends = [reader.end for reader in due]
            with self._client.pipeline(transaction=False) as pipe:
                for reader in due:
                    pipe.xrange(*reader.question())
                answers = zip(due, pipe.execute(), ends, strict=True)
            due = [reader for reader, found, end in answers if not reader.answer(found, end)]

    def _read(self, job_ids: Sequence[str], watch: Watch) -> None:
        for start in range(0, len(job_ids), _READ_AT_ONCE):
            some = job_ids[start : start + _READ_AT_ONCE]
            values = self._client.mget([keys.result(job_id) for job_id in some])
            for job_id, stored in zip(some, values, strict=True):
                watch.tell(job_id, stored)


def _say(connection: Any, *command: str) -> None:
    connection.send_packed_command(connection.pack_command(*command), check_health=False)
