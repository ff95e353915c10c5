"""One reader of a job's text while it is generated: how far it is, and what it gives its caller.

A piece is announced on a channel named like its stream, and read from the stream: whoever listens
late, or was cut off, misses none. A job's result is stored after its last piece, so what is read
once the result is known is all that there will be.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

from stoker_config import keys
from stoker_tasks.errors import InvalidInput
from stoker_tasks.result import Failure, Result
from stoker_tasks.stored import read
from stoker_tasks.streaming import Piece

_PAGE: Final = 1000
_ID: Final = re.compile(r"\d{1,19}-\d{1,19}")

# What a reader is told: new pieces; the job's result, after the last of them; or why there is none.
Heard = Sequence[Piece] | Result | Exception


class Reader:
    """One reader of one job. No I/O: a listener reads for all of a client's in one round trip.

    Args:
        job_id: The job.
        after: The ID of the last piece that it has; None for all.
        hear: Takes what is new.

    Raises:
        InvalidInput: That is no ID of a piece.
    """

    def __init__(self, job_id: str, after: str | None, hear: Callable[[Heard], None]) -> None:
        if after is not None and not _ID.fullmatch(after):
            raise InvalidInput("after: takes the id of a piece, such as 1700000000000-0")
        self.job_id = job_id
        self._after = after
        self._hear = hear
        self._end: Result | None = None

    def over(self, end: Result | Exception) -> None:
        """Be told that nothing new comes; what is there is still to be read before a result."""
        if isinstance(end, Exception):
            self._hear(end)
        else:
            self._end = end

    def question(self) -> tuple[str, str, str, int]:
        """Give the arguments of redis-py's `xrange` for what is new."""
        start = "-" if self._after is None else f"({self._after}"
        return keys.stream(self.job_id), start, "+", _PAGE

    def answer(self, entries: Sequence[Any], end: Result | None) -> bool:
        """Take the answer in.

        Args:
            entries: The entries of the stream.
            end: The job's result, if it was known when the question was asked.

        Returns:
            Whether there is nothing more for now.
        """
        if entries:
            pieces = []
            for entry_id, fields in entries:
                pieces.append(Piece.of(entry_id, fields, begun=self._after is not None))
                self._after = pieces[-1].id
            self._hear(pieces)
        whole = len(entries) < _PAGE
        if whole and end is not None:
            self._hear(end)
        return whole

    @property
    def end(self) -> Result | None:
        """The job's result, once it is known."""
        return self._end


class Ear(Protocol):
    """What reads for all of a client's readers."""

    def follow(self, reader: Reader) -> AbstractContextManager[None]:
        """Tell a reader what is new, while the context lasts."""


def pieces(
    ear: Ear, client: Any, job_id: str, after: str | None, timeout: float | None
) -> Iterator[Piece]:
    """Give a job's pieces as they come; it ends with the job. What is unfit is refused at once.

    Args:
        ear: Tells what is new.
        client: A redis-py client, for a last look when time has run out.
        job_id: The job.
        after: The ID of the last piece that the caller has; None for all.
        timeout: Seconds until the job has to be finished; for ever if None.

    Raises:
        StokerError: The job did not succeed.
        TimeoutError: It was not finished in time.
        InvalidInput: `after` is no ID of a piece.
    """
    inbox: SimpleQueue[Heard] = SimpleQueue()
    return _pieces(ear, client, Reader(job_id, after, inbox.put), inbox, after, timeout)


def _pieces(
    ear: Ear,
    client: Any,
    reader: Reader,
    inbox: "SimpleQueue[Heard]",
    after: str | None,
    timeout: float | None,
) -> Iterator[Piece]:
    job_id, deadline = reader.job_id, None if timeout is None else time.monotonic() + timeout
    with ear.follow(reader):
        while True:
            spare = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                heard = inbox.get(timeout=spare)
            except Empty:
                break
            new = told(heard)
            if new is None:
                return
            for piece in new:
                after = piece.id
                yield piece
    # The listener may still tell the old reader of what is read here.
    seen: list[Heard] = []
    reader = Reader(job_id, after, seen.append)
    end, whole = read(client.get(keys.result(job_id))), False
    while not whole:
        whole = reader.answer(client.xrange(*reader.question()), end)
        yield from drain(seen)
    if end is None:
        raise late(job_id, timeout)


def told(heard: Heard) -> Sequence[Piece] | None:
    """Give the new pieces of what was heard; None at the end.

    Raises:
        StokerError: The job did not succeed.
    """
    if isinstance(heard, Exception):
        raise heard
    if isinstance(heard, Failure):
        raise heard.to_error()
    return heard if isinstance(heard, Sequence) else None


def drain(seen: list[Heard]) -> Iterator[Piece]:
    """Give all new pieces of what was heard, and forget it.

    Raises:
        StokerError: The job did not succeed.
    """
    while seen:
        yield from told(seen.pop(0)) or ()


def late(job_id: str, timeout: float | None) -> TimeoutError:
    """Give the error of a job that was not finished in time."""
    return TimeoutError(f"job {job_id} was not finished within {timeout} s")
