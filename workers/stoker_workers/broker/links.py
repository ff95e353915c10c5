"""What follows a job: its links and its chord's body are sent, or the job goes back to its queue.

Celery fails a job whose next link cannot be sent, or whose chord's part cannot be counted, since
its own workers could only run it again. Here its result would be lost to a server that was away for
a second, where results themselves wait until it is back.
"""

import sys
from typing import Any, Final

import redis
from celery.backends.redis import CHORD_CLEANUP_LUA
from kombu.exceptions import OperationalError

from stoker_workers.broker.writing import QuickBackend

# Reads a chord's size, and takes away the claim to dispatch its body that an earlier delivery has
# left behind.
# KEYS: the claim, the size.
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) ~= 'done' then redis.call('DEL', KEYS[1]) end
return redis.call('GET', KEYS[2])
"""
_AWAY: Final = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.OutOfMemoryError,
    redis.ReadOnlyError,
)


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


def is_away(error: BaseException) -> bool:
    """Tell whether an error is that of a server that cannot be reached, or takes no writes.

    Args:
        error: Any, redis-py's own or kombu's.
    """
    # kombu gives this name to more than that: also to a link whose serializer nobody knows.
    if isinstance(error, OperationalError):
        return isinstance(error.__cause__, (*_AWAY, OSError))
    return isinstance(error, _AWAY)


class LinkingBackend(QuickBackend):
    """A Redis backend that fails no job, and no chord, for want of a server."""

    _clean_up: Any = None
    _release: Any = None

    def can_go_back(self) -> bool:
        """Tell whether the job that this thread ends can still be left without an end."""
        return False

    def mark_as_failure(self, task_id: Any, exc: Any, *args: Any, **kwargs: Any) -> Any:
        """Store a job's failure, and have those told who are to be told of it.

        Raises:
            Unsent: It is the server's failure, and no job's.
        """
        self._heed(exc)
        return super().mark_as_failure(task_id, exc, *args, **kwargs)

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> Any:
        """Store the failure of a chord's body.

        Raises:
            Unsent: It is the server's failure, and no job's.
        """
        self._heed(sys.exc_info()[1])
        return super().chord_error_from_stack(callback, exc)

    def on_chord_part_return(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Count a chord's part, and dispatch its body after the last one.

        Celery 5.7 lets only one delivery dispatch the body, for as long as half a minute. If that
        one dies before it has done so, its job is back within two seconds, would find the body
        claimed and leave it to the dead. A claim is made with the last part only, so one that a
        part finds here is that of its own earlier delivery or, should two deliveries run at once,
        leads to a body that is sent twice under one ID: it may run twice, and is stored once.

        Raises:
            Unsent: The server is away; another delivery of the part counts it once more.
        """
        if not request.group:
            return super().on_chord_part_return(request, *args, **kwargs)
        if self._release is None:
            self._release = self.client.register_script(_RELEASE)
        claim, size = (self.get_key_for_group(request.group, end) for end in (".c", ".s"))
        parts = self._release(keys=[claim, size])
        try:
            return super().on_chord_part_return(request, *args, **kwargs)
        except BaseException as error:
            # Celery forgets the size of a chord that has failed; this one goes on.
            if parts is not None and (isinstance(error, Unsent) or is_away(error)):
                self.ensure(self._keep, (size, parts), max_retries=None)
            raise

    def _chord_cleanup_script(self, **call: Any) -> Any:
        """Mark a chord's body as dispatched, and forget its parts: but not if it was not sent."""
        if isinstance(sys.exc_info()[1], Unsent):
            return 1
        if self._clean_up is None:
            self._clean_up = self.client.register_script(CHORD_CLEANUP_LUA)
        return self._clean_up(**call)

    def _keep(self, key: Any, value: bytes) -> None:
        self.client.set(key, value, ex=self.expires or None, nx=True)

    def _heed(self, error: BaseException | None) -> None:
        if self.can_go_back() and error is not None and is_away(error):
            raise Unsent(error)
