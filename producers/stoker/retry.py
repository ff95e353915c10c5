"""Runs a job that has failed again, under its old ID: from its message, kept for a while."""

import base64
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final
from uuid import uuid4

from stoker.place import Place
from stoker.status import State, Status
from stoker_config import keys
from stoker_config.keys import PRIORITY_STEPS
from stoker_config.lapsed import COUNT_SECONDS
from stoker_config.once import KEEP, WAITING_SECONDS
from stoker_tasks.event import ROUND_HEADER, wish
from stoker_tasks.wire import STARTS_HEADER, SUBMITTED_HEADER, pool_name, task_name

# Puts a message back as if it had never been sent: no result, no deaths, known as queued.
# KEYS: kept messages, their times, their size, dead letters, the job's result, tombstone, deaths
# and starts, jobs, running, wishes, the list, the stream of its text, the tombstone of a deleted
# job: what a worker has kept of it since is not for use, the deaths beside it.
# ARGV: ID, place, wish ('' for none), message, starts.
_RETRY: Final = (
    KEEP
    + f"""
local id = ARGV[1]
if redis.call('HEXISTS', KEYS[9], id) == 1 or redis.call('ZSCORE', KEYS[10], id) then
  return 'not_finished'
end
if string.match(redis.call('GET', KEYS[5]) or '', '"status": "SUCCESS"') then return 'succeeded' end
if redis.call('EXISTS', KEYS[14]) == 1 then return 'not_kept' end
local size = redis.call('HSTRLEN', KEYS[1], id)
if size > 0 then
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('DECRBY', KEYS[3], size)
elseif redis.call('HDEL', KEYS[4], id) == 0 then return 'not_kept' end
redis.call('DEL', KEYS[5], KEYS[6], KEYS[7], KEYS[13], KEYS[15])
redis.call('SET', KEYS[8], ARGV[5], 'EX', {COUNT_SECONDS})
redis.call('HSET', KEYS[9], id, ARGV[2])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[11], id, ARGV[3]) end
redis.call('LPUSH', KEYS[12], ARGV[4])
keep_key(id, {WAITING_SECONDS})
return 'retrying'
"""
)


# forget_message(id): deletes the message that is kept of a job.
FORGET: Final = f"""
local KEPT, KEPT_UNTIL, KEPT_BYTES = '{keys.KEPT}', '{keys.KEPT_UNTIL}', '{keys.KEPT_BYTES}'
local function forget_message(id)
  local size = redis.call('HSTRLEN', KEPT, id)
  redis.call('HDEL', KEPT, id)
  redis.call('ZREM', KEPT_UNTIL, id)
  if size > 0 then redis.call('DECRBY', KEPT_BYTES, size) end
end
"""


class RetryAnswer(StrEnum):
    """The answers to a wish to run a job again."""

    RETRYING = "retrying"  # it is queued again, under its old ID
    NOT_FINISHED = "not_finished"  # it waits or runs
    SUCCEEDED = "succeeded"  # its result stands
    NOT_KEPT = "not_kept"  # its message is kept no longer, or is still in the queue: submit it anew
    NOT_FOUND = "not_found"


def refusal(status: Status) -> RetryAnswer | None:
    """Say why a job is not run again; None if it may be."""
    match status.state:
        case State.QUEUED | State.RUNNING | State.CANCELING:
            return RetryAnswer.NOT_FINISHED
        case State.SUCCEEDED:
            return RetryAnswer.SUCCEEDED
    return None


def not_kept(status: Status) -> RetryAnswer:
    """Say what it means that no message of a job is kept.

    One that nothing else is known of may have one: a retry was cut off after it had taken the
    failure away, where results have a server of their own.
    """
    unknown = status.state is State.UNKNOWN
    return RetryAnswer.NOT_FOUND if unknown else RetryAnswer.NOT_KEPT


def retry(client: Any, status: Status, now: float) -> RetryAnswer:
    """Run a job again, if its message is kept.

    Args:
        client: A redis-py client.
        status: Where the job stands; nothing is refused any more because of it.
        now: Seconds since the epoch by the server's clock.
    """
    with client.pipeline(transaction=False) as pipe:
        ask(pipe, status.id)
        text = tell(pipe.execute())
    if text is None:
        return not_kept(status)
    return RetryAnswer(send(client, status.id, text, status.times.attempts, now).decode())


def ask(pipe: Any, job_id: str) -> None:
    """Put the question for a job's message into a pipeline."""
    pipe.hget(keys.KEPT, job_id)
    pipe.hget(keys.DEAD, job_id)


def tell(answers: Sequence[bytes | None]) -> bytes | None:
    """Read the answers to what `ask` asked: the message, if it is kept."""
    return next((each for each in answers if each), None)


def send(pipe: Any, job_id: str, text: bytes, starts: int, now: float) -> Any:
    """Put into a pipeline what sends a message again; or send it at once, through a client.

    Args:
        pipe: A pipeline or a client of redis-py.
        job_id: The job.
        text: Its message.
        starts: How many of its deliveries were started so far.
        now: Seconds since the epoch by the server's clock.

    Returns:
        With a client: the answer.
    """
    message = json.loads(text)
    headers, info = message["headers"], message["properties"]["delivery_info"]
    for each in (headers, info):
        each.pop("redelivered", None)
    # Its end was told; a webhook is told of the next one as well.
    headers[ROUND_HEADER] = int(headers.get(ROUND_HEADER) or 0) + 1
    # Its time has to count anew.
    headers.update({SUBMITTED_HEADER: now, STARTS_HEADER: starts, "expires": None, "eta": None})
    message["properties"]["delivery_tag"] = str(uuid4())
    queue, priority = str(info["routing_key"]), int(message["properties"].get("priority") or 0)
    kwargs = kwargs_of(message)
    place = Place(
        now,
        pool_name(queue),
        task_name(headers["task"]),
        kwargs.get("model"),
        retention=kwargs.get("retention"),
    )
    names = [
        *(keys.KEPT, keys.KEPT_UNTIL, keys.KEPT_BYTES, keys.DEAD, keys.result(job_id)),
        *(keys.canceled(job_id), keys.deaths(job_id), keys.starts(job_id)),
        *(keys.JOBS, keys.RUNNING, keys.WISHES),
        keys.queue(queue, priority, PRIORITY_STEPS),
        keys.stream(job_id),
        keys.deleted(job_id),
        keys.beside(job_id),
    ]
    wanted = wish(kwargs, headers) if kwargs.get("webhook") is not None else ""
    values = [job_id, place.line(), wanted, json.dumps(message), starts]
    return pipe.eval(_RETRY, len(names), *names, *values)


def kwargs_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read a message's keyword arguments; it may be anybody's."""
    try:
        body = message["body"]
        if message["properties"].get("body_encoding") == "base64":
            body = base64.b64decode(body)
        kwargs = json.loads(body)[1]
    except (ValueError, TypeError, LookupError):
        return {}
    return kwargs if isinstance(kwargs, Mapping) else {}
