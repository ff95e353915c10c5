"""Cancels a job: a tombstone that every worker will find, whether one runs now or not."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from stoker.status import CancelAnswer
from stoker_config import keys, outbox
from stoker_tasks.event import listener_of
from stoker_tasks.stored import read

# A canceled job may wait long before a worker meets its message: behind a countdown, or a backlog.
_TOMBSTONE_SECONDS: Final = 90 * 86_400

# Decides and marks in one call, so that a job that is being started is either still queued here or
# already running.
# KEYS: the job's result and tombstone, running, queued, placed, wishes, its starts. ARGV: its ID,
# seconds to keep its result, what Celery stores for a revoked task, seconds to keep the tombstone,
# and the event if somebody is to be told.
_CANCEL: Final = (
    outbox.EMIT
    + f"local tenants = '{keys.tenant('')}'"
    + """
local state = string.match(redis.call('GET', KEYS[1]) or '', '"status": "(%u+)"')
if state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED' then return 'already_finished' end
local expires, tombstone = tonumber(ARGV[2]), tonumber(ARGV[4])
if redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  redis.call('SET', KEYS[2], '1', 'EX', tombstone)
  return 'canceling'
end
local queued = redis.call('ZSCORE', KEYS[4], ARGV[1])
if not queued then return 'not_found' end
redis.call('SET', KEYS[2], '1', 'EX', tombstone)
local time = redis.call('TIME')
local part = '.' .. string.format('%06d', time[2])
local now, later = time[1] .. part, string.format('%d', time[1] + expires) .. part
local times = '{"queued_at": ' .. queued .. ', "finished_at": ' .. now
times = times .. ', "expires_at": ' .. later .. ', "attempts": '
times = times .. (redis.call('GET', KEYS[7]) or '0') .. '}'
local value = string.sub(ARGV[3], 1, -2) .. ', "times": ' .. times .. '}'
redis.call('SET', KEYS[1], value, 'EX', expires)
redis.call('PUBLISH', KEYS[1], value)
redis.call('ZREM', KEYS[4], ARGV[1])
local place = cjson.decode(redis.call('HGET', KEYS[5], ARGV[1]) or '[]')
if place[4] then redis.call('SREM', tenants .. place[4], ARGV[1]) end
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[6], ARGV[1])
if ARGV[5] then emit(5); wake() end
return 'canceled'
"""
)


def cancel(app: Any, client: Any, job_id: str, expires: int) -> CancelAnswer:
    """Cancel a job.

    Args:
        app: The Celery app; workers that hold the job are told through it.
        client: A redis-py client.
        job_id: The job's ID.
        expires: Seconds for which its result is kept.

    Returns:
        What came of it.
    """
    wanted = client.hget(keys.WISHES, job_id)
    answer = answer_of(client.eval(*question(job_id, wanted, expires)))
    if answer in (CancelAnswer.CANCELED, CancelAnswer.CANCELING):
        app.control.revoke(job_id)
    return answer


def question(job_id: str, wanted: bytes | None, expires: int) -> tuple[Any, ...]:
    """Give the arguments of the EVAL that cancels a job.

    Args:
        job_id: The job's ID.
        wanted: What the hash of wishes has of it.
        expires: Seconds for which its result is kept.
    """
    listener = listener_of(**json.loads(wanted)) if wanted else None
    revoked = _revoked(job_id)
    ended = read(revoked)
    told = listener.completed(job_id, ended) if listener and ended else None
    return (
        _CANCEL,
        7,
        keys.result(job_id),
        keys.canceled(job_id),
        keys.RUNNING,
        keys.QUEUED,
        keys.PLACED,
        keys.WISHES,
        keys.starts(job_id),
        job_id,
        expires,
        revoked,
        _TOMBSTONE_SECONDS,
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
