"""Where a job stands: read from Redis in one round trip, and never guessed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from stoker.ids import was_given
from stoker.place import Place
from stoker.place import read as read_place
from stoker_config import keys
from stoker_config.lapsed import Beat
from stoker_config.serving import Serving
from stoker_tasks.result import Times
from stoker_tasks.stored import read


class State(StrEnum):
    """The states of a job, under the names they have everywhere."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    # There was such a job; it is over, and its result is kept no longer, or was deleted.
    GONE = "gone"
    # No client of Stoker's has given this ID; a job of a stock Celery producer that no worker has
    # received yet, or whose result is kept no longer, is not told from one that never was.
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a job stands.

    Attributes:
        id: The job's ID.
        state: Its state.
        terminal: Whether the state is the job's last.
        times: When it was queued, started and finished, and until when its result is kept.
        waiting_for: Why no worker will take a queued job as things are; None if one will.
    """

    id: str
    state: State
    terminal: bool
    times: Times = field(default_factory=Times)
    waiting_for: str | None = None


class CancelAnswer(StrEnum):
    """The four answers to a wish to cancel."""

    CANCELED = "canceled"  # it had not been started, and will not be
    CANCELING = "canceling"  # it runs; its result will be discarded
    ALREADY_FINISHED = "already_finished"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class Seen:
    """What Redis knows of one job.

    Attributes:
        status: Where it stands.
        place: Where it waits, if it does.
        beat: Of a job that is marked as running, the sign of life that some worker gave last.
    """

    status: Status
    place: Place | None = None
    beat: Beat | None = None

    def explained(self, workers: Sequence[Serving]) -> Status:
        """Give the status with the reason why none of these workers takes the job."""
        place = self.place
        reason = place and explain(workers, place.pool, place.task, place.model)
        return replace(self.status, waiting_for=reason.text) if reason else self.status


# All at one moment, lest a job that goes from one state to the next is found in none. By a script,
# since a server without memory refuses every transaction, also one that only reads.
# KEYS: the job's result, tombstones (canceled, deleted) and starts, running, jobs, held
# deliveries. ARGV: its ID.
_LOOK: Final = """
return {
  redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]),
  redis.call('EXISTS', KEYS[2]), redis.call('EXISTS', KEYS[3]), redis.call('GET', KEYS[4]),
  redis.call('ZSCORE', KEYS[5], ARGV[1]), redis.call('HGET', KEYS[6], ARGV[1]),
  redis.call('ZREVRANGE', KEYS[7], 0, 0, 'WITHSCORES')
}
"""


def question(job_id: str) -> tuple[Any, ...]:
    """Give the arguments of the EVAL that looks where a job stands."""
    own = (keys.result, keys.canceled, keys.deleted, keys.starts)
    names = [*(each(job_id) for each in own), keys.RUNNING, keys.JOBS, keys.HELD]
    return _LOOK, len(names), *names, job_id


def tell(job_id: str, answers: Sequence[Any]) -> Seen:
    """Read the answer to a job's `question`."""
    stored, left_ms, canceled, deleted, starts, running, line, beat = answers
    if deleted:
        # A worker that meets the message of a canceled job says once more that it is canceled.
        return Seen(Status(id=job_id, state=State.GONE, terminal=True))
    result = read(stored)
    if result is not None:
        state, times = State(result.status), result.times
        if times.expires_at is None and left_ms > 0:
            # The end of a job that no worker took to its end does not tell it.
            expires_at = datetime.now(UTC) + timedelta(milliseconds=left_ms)
            times = times.model_copy(update={"expires_at": expires_at})
        return Seen(Status(id=job_id, state=state, terminal=True, times=times))
    if running is None and line is None:
        gone = was_given(job_id)
        state = State.GONE if gone else State.UNKNOWN
        return Seen(Status(id=job_id, state=state, terminal=gone))
    place = read_place(line) if line else None
    state, attempts = State.QUEUED, int(starts or 0)
    if running is not None:
        state, attempts = State.RUNNING, attempts + 1
    if canceled:
        # Also while it is back on its queue: its worker died, and it will not be started again.
        state = State.CANCELING
    times = Times.model_validate(
        {
            "queued_at": place and place.queued_at,
            "started_at": running and float(running),
            "attempts": attempts,
        }
    )
    status = Status(id=job_id, state=state, terminal=False, times=times)
    waits = state is State.QUEUED and place is not None and place.pool
    return Seen(
        status,
        place=place if waits else None,
        beat=None if running is None else Beat.read(beat),
    )


@dataclass(frozen=True, slots=True)
class Reason:
    """Why no living worker takes a job.

    Attributes:
        text: The reason, in words.
        about_model: Whether another model would be taken.
    """

    text: str
    about_model: bool = False


def explain(workers: Sequence[Serving], pool: str, task: str, model: str | None) -> Reason | None:
    """Say why none of these workers takes a job; None if one does.

    Args:
        workers: The living workers.
        pool: The job's pool.
        task: Its task.
        model: Its model; None for the pool's own.
    """
    there = [worker for worker in workers if pool in worker.pools]
    if not there:
        pools = sorted({name for worker in workers for name in worker.pools})
        return Reason(f"no worker serves the pool {pool}; served now: {', '.join(pools) or 'none'}")
    able = [worker for worker in there if task in worker.tasks]
    if not able:
        tasks = sorted({name for worker in there for name in worker.tasks})
        return Reason(
            f"no worker of the pool {pool} serves {task}; served there: {', '.join(tasks)}"
        )
    if model is not None and all(worker.models and model not in worker.models for worker in able):
        models = sorted({name for worker in able for name in worker.models})
        return Reason(
            f"no worker of the pool {pool} serves this model; served there: {', '.join(models)}",
            about_model=True,
        )
    if model is None and all(task not in worker.defaults for worker in able):
        return Reason(
            f"no worker of the pool {pool} has a default model for {task}: the job must name one"
        )
    return None
