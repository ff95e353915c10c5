"""Cancels a job: a tombstone that every worker will find, whether one runs now or not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from stoker.place import read as read_place
from stoker.status import CancelAnswer
from stoker_config import keys, outbox
from stoker_config.once import KEEP
from stoker_config.retention import Retention
from stoker_tasks.event import listener_of
from stoker_tasks.stored import read

if TYPE_CHECKING:
    from stoker_config.settings import Settings

# A canceled job may wait long before a worker meets its message: behind a countdown, or a backlog.
_TOMBSTONE_SECONDS: Final = 90 * 86_400

# Decides and marks in one call, so that a job that is being started is either still queued here or
# already running.
# It begins with a write that takes no memory, here of nothing: so it is not refused while Redis has
# none left, and what waits there can be got rid of.
# KEYS: the job's result and tombstone, running, jobs, wishes, its starts. ARGV: its ID,
# seconds to keep its result, what Celery stores for a revoked task, seconds to keep the tombstone,
# seconds for which its idempotency key goes on standing for it, and the event if somebody is to be
# told.
_CANCEL: Final = (
    outbox.EMIT
    + KEEP
    + f"local tenants = '{keys.tenant('')}'"
    + """
redis.call('ZREM', KEYS[3], '')
local state = string.match(redis.call('GET', KEYS[1]) or '', '"status": "(%u+)"')
if state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED' then return 'already_finished' end
local expires, tombstone = tonumber(ARGV[2]), tonumber(ARGV[4])
if redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  redis.call('SET', KEYS[2], '1', 'EX', tombstone)
  return 'canceling'
end
local line = redis.call('HGET', KEYS[4], ARGV[1])
if not line then return 'not_found' end
local is_read, place = pcall(cjson.decode, line)
local tenant = is_read and place[5] or ''
redis.call('SET', KEYS[2], '1', 'EX', tombstone)
local time = redis.call('TIME')
local part = '.' .. string.format('%06d', time[2])
local now, later = time[1] .. part, string.format('%d', time[1] + expires) .. part
local times = '{"queued_at": ' .. string.match(line, '[^%[%],]+') .. ', "finished_at": ' .. now
times = times .. ', "expires_at": ' .. later .. ', "attempts": '
times = times .. (redis.call('GET', KEYS[6]) or '0') .. '}'
local value = string.sub(ARGV[3], 1, -2) .. ', "times": ' .. times .. '}'
redis.call('SET', KEYS[1], value, 'EX', expires)
redis.call('PUBLISH', KEYS[1], value)
if tenant ~= '' then redis.call('SREM', tenants .. tenant, ARGV[1]) end
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
keep_key(ARGV[1], ARGV[5])
if ARGV[6] then emit(6); wake() end
return 'canceled'
"""
)


@dataclass(frozen=True, slots=True)
class Known:
    """What must be known of a job that is to be canceled.

    Attributes:
        wanted: Who is to be told of its end, as the hash of wishes has it.
        retention: Seconds for which it wants its result kept.
    """

    wanted: bytes | None
    retention: int | None


def ask(pipe: Any, job_id: str) -> None:
    """Put the questions about a job that is to be canceled into a pipeline of redis-py."""
    pipe.hget(keys.WISHES, job_id)
    pipe.hget(keys.JOBS, job_id)


def tell(answers: Sequence[Any]) -> Known:
    """Read the answers to what `ask` asked."""
    wanted, line = answers
    return Known(wanted, read_place(line).retention if line else None)


def question(job_id: str, known: Known, settings: "Settings") -> tuple[Any, ...]:
    """Give the arguments of the EVAL that cancels a job.

    Args:
        job_id: The job's ID.
        known: What is known of it.
        settings: For how long what is left of it is kept.
    """
    listener = listener_of(**json.loads(known.wanted)) if known.wanted else None
    revoked = _revoked(job_id)
    ended = read(revoked)
    told = listener.completed(job_id, ended) if listener and ended else None
    return (
        _CANCEL,
        6,
        keys.result(job_id),
        keys.canceled(job_id),
        keys.RUNNING,
        keys.JOBS,
        keys.WISHES,
        keys.starts(job_id),
        job_id,
        Retention(settings.result_expires, settings.retention_max).of(known.retention),
        revoked,
        _TOMBSTONE_SECONDS,
        settings.idempotency_expires,
        *(outbox.fields(told) if told else ()),
    )


def answer_of(reply: bytes) -> CancelAnswer:
    """Read what the server answers."""
    return CancelAnswer(reply.decode())


def _revoked(job_id: str) -> str:
    """Give what Celery stores for a revoked task."""
    return json.dumps(
        {
            "status": "REVOKED",
            "result": {
                "exc_type": "TaskRevokedError",
                "exc_message": ["canceled"],
                "exc_module": "celery.exceptions",
            },
            "traceback": None,
            "children": [],
            "date_done": datetime.now(UTC).isoformat(),
            "task_id": job_id,
        }
    )
