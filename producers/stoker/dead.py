"""Dead letters: jobs that were given up because each worker that ran them died."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stoker.retry import RetryAnswer, kwargs_of, send
from stoker_config import keys
from stoker_tasks.wire import SUBMITTED_HEADER, pool_name, task_name


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


def read_fields(client: Any, job_id: str) -> dict[str, Any] | None:
    """Read the fields of a dead letter's job as they travelled; None if there is none."""
    text = client.hget(keys.DEAD, job_id)
    return None if text is None else dict(kwargs_of(json.loads(text)))


def requeue(client: Any, job_id: str, now: float) -> bool:
    """Put a dead letter back on its queue; False if there is none of this ID."""
    text = client.hget(keys.DEAD, job_id)
    if text is None:
        return False
    starts = int(client.get(keys.starts(job_id)) or 0)
    answer = send(client, job_id, text, starts, now)
    return answer is not None and RetryAnswer(answer.decode()) is RetryAnswer.RETRYING


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
