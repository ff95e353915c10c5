"""What follows a job: its links and its chord's body are sent, or the job goes back to its queue.

Celery fails a job whose next link cannot be sent, or whose chord's part cannot be counted, since
its own workers could only run it again. Here its result would be lost to a server that was away for
a second, where results themselves wait until it is back.
"""

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
from celery.backends.redis import CHORD_CLEANUP_LUA
from kombu.exceptions import OperationalError

from stoker_config.servers import is_full
from stoker_workers.broker.writing import QuickBackend

# Takes away the claim to dispatch a chord's body that an earlier delivery has left behind.
# KEYS: the claim.
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) ~= 'done' then redis.call('DEL', KEYS[1]) end
"""
# What a message says of its job's successors if it has none.
_NO_LINKS: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_AWAY: Final = (redis.ConnectionError, redis.TimeoutError)
# A server that takes no writes for now. Redis 6 says it of a script in a text of its own, redis-py
# of a command in a pipeline.
_NO_WRITES: Final = re.compile(
    r"(?:^|-|of pipeline caused error: )(?:READONLY|NOREPLICAS|MISCONF|MASTERDOWN) "
)
# What an exception is marked with that was read from a stored result.
_STORED: Final = "_of_a_stored_result"


class Unsent(BaseException):
    """The server is away, and a job's links were not sent: nothing is to be stored of it.

    It is no `Exception`, for which Celery would fail the job: like `asyncio.CancelledError`, it
    passes by whoever answers for any of those.

    Args:
        error: What was raised in the attempt.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def is_followed(request: Any) -> bool:
    """Tell whether something is to be sent at a job's end.

    Args:
        request: Celery's request of the job's delivery.
    """
    return bool(request.links != _NO_LINKS)


def is_away(error: BaseException | None) -> bool:
    """Tell whether an error is that of a server that cannot be reached, or takes no writes.

    Args:
        error: Any, redis-py's own or kombu's.
    """
    # kombu gives this name to more than that: also to a message that makes no sense.
    if isinstance(error, OperationalError):
        return isinstance(error.__cause__, OSError) or is_away(error.__cause__)
    if isinstance(error, redis.ReadOnlyError):
        return True
    if isinstance(error, redis.ResponseError):
        return is_full(error) or _NO_WRITES.search(str(error)) is not None
    return isinstance(error, _AWAY)


class _Deferring:
    """A redis-py client that leaves it to others to delete keys.

    Args:
        client: The client.
        names: Takes the keys' names.
    """

    def __init__(self, client: Any, names: list[Any]) -> None:
        self._client = client
        self._names = names

    def delete(self, *names: Any) -> int:
        """Note keys that are to be deleted."""
        self._names += names
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class LinkingBackend(QuickBackend):
    """A Redis backend that fails no job, and no chord, for want of a server."""

    _clean_up: Any = None
    _release: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._thread = threading.local()
        super().__init__(*args, **kwargs)

    @property
    def client(self) -> Any:
        """A redis-py client; while a chord's part is counted, one that deletes nothing yet."""
        return getattr(self._thread, "client", None) or super().client

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Let this thread's jobs go back, and delete what their chords leave when all are stored.

        If the context ends with an exception, nothing is deleted.
        """
        names: list[Any] = []
        self._thread.deferred = names
        try:
            yield
        finally:
            self._thread.deferred = None
        if names:
            self.ensure(self.client.delete, names, max_retries=None)

    def mark_as_failure(
        self, task_id: Any, exc: Any, traceback: Any = None, request: Any = None, **how: Any
    ) -> Any:
        """Store a failure, and have those told who are to be told of it.

        Raises:
            Unsent: It is the server's failure, and not that of the job which ends.
        """
        if request is not None and request.id == task_id:
            self._heed(exc)
        return super().mark_as_failure(task_id, exc, traceback, request, **how)

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> Any:
        """Store the failure of a chord's body.

        Raises:
            Unsent: It is the server's failure, and not that of a part.
        """
        self._heed(sys.exc_info()[1])
        return super().chord_error_from_stack(callback, exc)

    def _call_task_errbacks(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._call_task_errbacks(*args, **kwargs)
        except Exception as error:
            # Celery would tell this instead of what the errbacks are for.
            self._heed(error)
            raise

    def exception_to_python(self, exc: Any) -> Any:
        """Make an exception of what is stored of one: it tells nothing of this server."""
        made = super().exception_to_python(exc)
        if isinstance(made, BaseException):
            setattr(made, _STORED, True)
        return made

    def on_chord_part_return(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Count a chord's part, and dispatch its body after the last one.

        Celery 5.7 lets only one delivery dispatch the body, for as long as half a minute. If that
        one dies before it has done so, its job is back within two seconds, would find the body
        claimed and leave it to the dead. A claim is made with the last part only, so one that a
        part finds here is that of its own earlier delivery or, should two deliveries run at once,
        leads to a body that is sent twice under one ID: it may run twice, and is stored once.

        Celery also forgets how many parts a chord has that has failed, before the failure is
        stored: another delivery of the part, which has to store it, would count for nothing.
        """
        if request.group:
            if self._release is None:
                self._release = self.client.register_script(_RELEASE)
            self._release(keys=[self.get_key_for_group(request.group, ".c")])
        deferred = self._deferred()
        if deferred is None:
            return super().on_chord_part_return(request, *args, **kwargs)
        self._thread.client = _Deferring(self.client, deferred)
        try:
            return super().on_chord_part_return(request, *args, **kwargs)
        finally:
            self._thread.client = None

    def _chord_cleanup_script(self, **call: Any) -> Any:
        """Mark a chord's body as dispatched, and forget its parts: but not if it was not sent."""
        if isinstance(sys.exc_info()[1], Unsent):
            return 1
        if self._clean_up is None:
            self._clean_up = self.client.register_script(CHORD_CLEANUP_LUA)
        return self._clean_up(**call)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Forget what one job leaves to be deleted, if the context ends with `Unsent`."""
        deferred = self._deferred()
        assert deferred is not None
        known = len(deferred)
        try:
            yield
        except Unsent:
            del deferred[known:]
            raise

    def _deferred(self) -> list[Any] | None:
        return getattr(self._thread, "deferred", None)

    def _heed(self, error: BaseException | None) -> None:
        if self._deferred() is None or error is None or hasattr(error, _STORED):
            return
        if is_away(error):
            raise Unsent(error)
