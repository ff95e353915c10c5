"""Which results and texts are waited for, and what that takes: no I/O, for threads and asyncio.

Celery's backend publishes each result under the name of its key. Whoever waits for one subscribes
to that name first and reads the key only when the server has confirmed it: so no result can come
in between unheard. After a reconnect all of it is done again. A job's growing text is announced
under the name of its stream: whoever reads along is due to read when that is listened for, at each
piece, and when the job's result is there.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from itertools import islice
from typing import Any, Final

from stoker.following import Reader
from stoker_config import keys
from stoker_tasks.result import Result
from stoker_tasks.stored import read

# The names that one command bears.
_NAMES: Final = 500
# While nothing comes, the server is asked this often whether it is there, in seconds.
KEEP_ALIVE: Final = 30.0
# How soon a lost connection is tried again, and how long at most it is left alone, in seconds.
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0

# Is called with a job's ID and its result, or the reason why there will be none.
Waiter = Callable[[str, Result | Exception], None]


class Watch:
    """The jobs that are waited for. Safe for threads; who is told must not call back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[str, list[Waiter]] = {}
        # By the names of streams.
        self._readers: dict[str, dict[Reader, Waiter]] = {}
        self._due: dict[Reader, None] = {}
        # Names to be listened for, and those no longer.
        self._new: dict[str, None] = {}
        self._over: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._waiters or self._readers)

    def add(self, job_ids: Iterable[str], waiter: Waiter) -> None:
        """Wait for results."""
        with self._lock:
            for job_id in job_ids:
                self._waiters.setdefault(job_id, []).append(waiter)
                # One that is listened for already is confirmed again, and so read again.
                self._new[keys.result(job_id)] = None

    def remove(self, job_ids: Iterable[str], waiter: Waiter) -> None:
        """Wait for these no longer."""
        with self._lock:
            for job_id in job_ids:
                waiters = self._waiters.get(job_id, [])
                if waiter in waiters:
                    waiters.remove(waiter)
                if not waiters and self._waiters.pop(job_id, None) is not None:
                    self._end(keys.result(job_id))

    def follow(self, reader: Reader) -> None:
        """Let somebody read a job's text along."""

        def over(_: str, found: Result | Exception) -> None:
            reader.over(copy(found) if isinstance(found, Exception) else found)
            self._due[reader] = None

        name = keys.stream(reader.job_id)
        with self._lock:
            self._readers.setdefault(name, {})[reader] = over
            self._new[name] = None
        self.add([reader.job_id], over)

    def unfollow(self, reader: Reader) -> None:
        """Let somebody read along no longer."""
        name = keys.stream(reader.job_id)
        with self._lock:
            readers = self._readers[name]
            over = readers.pop(reader)
            self._due.pop(reader, None)
            if not readers:
                del self._readers[name]
                self._end(name)
        self.remove([reader.job_id], over)

    def due(self) -> list[Reader]:
        """Take those who are to read now."""
        with self._lock:
            due, self._due = list(self._due), {}
        return due

    def commands(self) -> Iterator[tuple[str, ...]]:
        """Give what has to be said to the server now."""
        with self._lock:
            new, self._new = iter(self._new), {}
            over, self._over = iter(self._over), {}
        for verb, listed in (("UNSUBSCRIBE", over), ("SUBSCRIBE", new)):
            while names := list(islice(listed, _NAMES)):
                yield (verb, *names)

    def again(self) -> None:
        """Begin anew on a new connection."""
        with self._lock:
            names = [*map(keys.result, self._waiters), *self._readers]
            self._new, self._over = dict.fromkeys(names), {}

    def hear(self, reply: Sequence[Any]) -> Iterator[str]:
        """Take what the server says in.

        Args:
            reply: One reply on the connection, in the second version of Redis's protocol.

        Yields:
            The job whose result is to be read now, if there is one.
        """
        kind, name, value = (*reply, None, None)[:3]
        if kind not in (b"subscribe", b"message"):
            return
        with self._lock:
            readers = self._readers.get(name.decode())
            if readers:
                self._due.update(dict.fromkeys(readers))
                return
        job_id = name.decode().removeprefix(keys.result(""))
        if kind == b"message":
            self.tell(job_id, value)
        elif job_id in self._waiters:
            yield job_id

    def tell(self, job_id: str, stored: bytes | None) -> None:
        """Tell the waiters of a job what is stored of it, if that is a result."""
        found: Result | Exception | None
        try:
            found = read(stored)
        except (ValueError, KeyError, TypeError) as error:
            found = ValueError(f"what is stored of job {job_id} is no result: {error}")
        if found is not None:
            self._answer([job_id], found)

    def fail(self, error: Exception) -> None:
        """Tell all waiters that they wait in vain."""
        self._answer(list(self._waiters), error)

    def _answer(self, job_ids: Iterable[str], found: Result | Exception) -> None:
        with self._lock:
            for job_id in job_ids:
                waiters = self._waiters.pop(job_id, None)
                if waiters is not None:
                    self._end(keys.result(job_id))
                    for waiter in waiters:
                        waiter(job_id, found)

    def _end(self, name: str) -> None:
        # What was never said need not be unsaid.
        if name in self._new:
            del self._new[name]
        self._over[name] = None
