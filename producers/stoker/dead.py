"""Dead letters: jobs that were given up because each worker that ran them died."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stoker_config import keys
from stoker_config.keys import PRIORITY_STEPS
from stoker_tasks.event import ROUND_HEADER
from stoker_tasks.wire import SUBMITTED_HEADER, pool_name, task_name

# Puts a message back as if it had never been sent: no result, no deaths, known as queued.
# KEYS: dead letters, result, deaths, queued, placed, list. ARGV: ID, time, place, message.
_REQUEUE: Final = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[5], ARGV[1], ARGV[3])
redis.call('LPUSH', KEYS[6], ARGV[4])
return 1
"""


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A job that was given up.

    Attributes:
        id: The job's ID.
        task: Its task.
        pool: The pool whose workers died.
        submitted: Seconds since the epoch; None for a stock Celery producer's job.
    """

    id: str
    task: str
    pool: str
    submitted: float | None


def read_all(client: Any) -> list[DeadLetter]:
    """List all dead letters, the oldest first."""
    letters = [
        _read(job_id.decode(), json.loads(message))
        for job_id, message in client.hgetall(keys.DEAD).items()
    ]
    return sorted(letters, key=lambda letter: letter.submitted or 0.0)


def requeue(client: Any, job_id: str) -> bool:
    """Put a dead letter back on its queue; False if there is none of this ID."""
    text = client.hget(keys.DEAD, job_id)
    if text is None:
        return False
    message = json.loads(text)
    message["headers"].pop("redelivered", None)
    message["properties"]["delivery_info"].pop("redelivered", None)
    headers = message["headers"]
    # Its end was told; a webhook is told of the next one as well.
    headers[ROUND_HEADER] = int(headers.get(ROUND_HEADER) or 0) + 1
    letter = _read(job_id, message)
    queue = _queue(message)
    priority = message["properties"].get("priority") or 0
    done = client.eval(
        _REQUEUE,
        6,
        *(keys.DEAD, keys.result(job_id), keys.deaths(job_id), keys.QUEUED, keys.PLACED),
        keys.queue(queue, int(priority), PRIORITY_STEPS),
        *(job_id, time.time(), json.dumps([letter.pool, letter.task, None])),
        json.dumps(message),
    )
    return bool(done)


def discard(client: Any, job_id: str) -> bool:
    """Forget a dead letter; False if there is none of this ID."""
    return bool(client.hdel(keys.DEAD, job_id))


def _read(job_id: str, message: Mapping[str, Any]) -> DeadLetter:
    headers = message["headers"]
    return DeadLetter(
        id=job_id,
        task=task_name(headers["task"]),
        pool=pool_name(_queue(message)),
        submitted=headers.get(SUBMITTED_HEADER),
    )


def _queue(message: Mapping[str, Any]) -> str:
    return str(message["properties"]["delivery_info"]["routing_key"])
