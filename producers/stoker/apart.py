"""What is decided about a job whose result is on another server than its message.

Each script of Stoker's decides on the broker's server, where all but the results is; here is what
has to be done on the results' server before or after. Whatever is cut off in between can be done
again, and loses no result that is wanted.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import redis

from stoker.delete import DeleteAnswer
from stoker.status import CancelAnswer
from stoker_config import keys
from stoker_tasks.stored import read

Answer = TypeVar("Answer")

# For so long a worker that has stored a job's end may take to say so on the broker's server: one
# that takes longer has most likely died in between, and its job is delivered again.
_CONCLUDED_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.01

# Takes away a result that is to be made anew, unless it is a success, and puts the text aside that
# led to it. KEYS: the result, the stream of its text, where that goes.
# Gives the result and the milliseconds for which it was to be kept, or nothing.
_TAKE: Final = """
local value = redis.call('GET', KEYS[1])
if not value or string.match(value, '"status": "SUCCESS"') then return {} end
local left = redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
if string.match(value, '"status": "FAILURE"') or string.match(value, '"status": "REVOKED"') then
  if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[3]) end
end
return {value, left}
"""
# Puts a text back that was put aside, and stores a result unless there is a final one: a worker
# that hears late of a cancel may have stored one meanwhile.
# KEYS: the result and, if there may be such a text, its stream and where it is. ARGV: the result,
# milliseconds to keep it.
_PUT: Final = """
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('RENAMENX', KEYS[3], KEYS[2])
end
local state = string.match(redis.call('GET', KEYS[1]) or '', '"status": "(%u+)"')
if state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED' then return end
local ms = tonumber(ARGV[2])
if ms > 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ms)
else redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('PUBLISH', KEYS[1], ARGV[1])
"""


class Apart:
    """The results' server beside the broker's. Safe for threads.

    Args:
        broker: A redis-py client of the broker's server.
        results: A redis-py client of the results' server.
    """

    def __init__(self, broker: Any, results: Any) -> None:
        self._broker = broker
        self._results = results

    def with_result(self, job_id: str, answers: Sequence[Any]) -> Sequence[Any]:
        """Put a job's result into what the broker's server has answered about it.

        The broker's server is asked first: a job that it knows no more has its result by then.

        Args:
            job_id: The job.
            answers: A result and the milliseconds for which it is kept, then all else.
        """
        with self._results.pipeline(transaction=True) as pipe:
            pipe.get(keys.result(job_id))
            pipe.pttl(keys.result(job_id))
            stored, left = pipe.execute()
        return answers if stored is None else [stored, left, *answers[2:]]

    def cancel(self, job_id: str, do: Callable[[], CancelAnswer]) -> CancelAnswer:
        """Cancel a job; the end of one that had not been started comes to the results' server.

        Args:
            job_id: The job.
            do: Cancels it on the broker's server.
        """
        if self._is_there(job_id):
            return CancelAnswer.ALREADY_FINISHED
        answer = do()
        if answer is CancelAnswer.CANCELED:
            # Should this be cut off, a worker stores it, that meets the message and the tombstone.
            self._move(job_id)
        if answer is CancelAnswer.NOT_FOUND and self._is_there(job_id):
            return CancelAnswer.ALREADY_FINISHED
        return answer

    def repeat(
        self, job_id: str, do: Callable[[], Answer], is_repeated: Callable[[Answer], bool]
    ) -> Answer:
        """Run a job again: its failure and its text go first, lest they stand before the new ones.

        Args:
            job_id: The job.
            do: Puts it back on its queue.
            is_repeated: Tells by what `do` answers whether it did.
        """
        self._wait_until_concluded(job_id)
        names = (keys.result(job_id), keys.stream(job_id), keys.stream_before(job_id))
        taken = self._results.eval(_TAKE, len(names), *names)
        try:
            answer = do()
        except BaseException:
            # Where its message is still kept nothing was sent. If that cannot be told, the job can
            # be repeated all the same, for as long as its message is kept.
            with suppress(redis.RedisError):
                if taken and self._has_message(job_id):
                    self._results.eval(_PUT, len(names), *names, *taken)
            raise
        if not taken:
            return answer
        if not is_repeated(answer):
            self._results.eval(_PUT, len(names), *names, *taken)
            if self._broker.exists(keys.deleted(job_id)):
                # It was deleted while this was taken away, and so not found.
                self._results.delete(*names)
        self._results.delete(names[-1])
        return answer

    def delete(self, job_id: str, do: Callable[[], DeleteAnswer]) -> DeleteAnswer:
        """Delete what is kept of a job: for as long as that takes, its result is on both servers.

        Args:
            job_id: The job.
            do: Deletes what is on the broker's server.
        """
        key = keys.result(job_id)
        [stored, left] = self.with_result(job_id, [None, 0])
        if stored is not None:
            self._broker.set(key, stored, px=left if left > 0 else None)
        try:
            answer = do()
        except BaseException:
            if stored is not None:
                with suppress(redis.RedisError):
                    self._broker.delete(key)
            raise
        if answer is DeleteAnswer.DELETED:
            self._results.delete(key, keys.stream(job_id), keys.stream_before(job_id))
        elif stored is not None:
            self._broker.delete(key)
        return answer

    def _wait_until_concluded(self, job_id: str) -> None:
        """Wait until a job that has its end is known as waiting or running no more.

        Whoever has waited for the end may be ahead of the worker's second step.
        """
        until = time.monotonic() + _CONCLUDED_SECONDS
        while self._is_active(job_id) and self._is_there(job_id) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)

    def _is_active(self, job_id: str) -> bool:
        with self._broker.pipeline(transaction=False) as pipe:
            pipe.hget(keys.JOBS, job_id)
            pipe.zscore(keys.RUNNING, job_id)
            return any(each is not None for each in pipe.execute())

    def _has_message(self, job_id: str) -> bool:
        return any(self._broker.hexists(each, job_id) for each in (keys.KEPT, keys.DEAD))

    def _is_there(self, job_id: str) -> bool:
        # A state that is not the last one, such as Celery's RETRY, is no result.
        return read(self._results.get(keys.result(job_id))) is not None

    def _move(self, job_id: str) -> None:
        key = keys.result(job_id)
        with self._broker.pipeline(transaction=True) as pipe:
            pipe.get(key)
            pipe.pttl(key)
            stored, left = pipe.execute()
        if stored is not None:
            self._results.eval(_PUT, 1, key, stored, left)
            self._broker.delete(key)
