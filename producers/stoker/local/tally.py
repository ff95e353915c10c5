"""Counts where the jobs of a Redis server stand, from what Celery and kombu keep there."""

from dataclasses import dataclass
from typing import Any, Final

from stoker_config import keys
from stoker_config.keys import PRIORITY_STEPS
from stoker_tasks.wire import queue_name

# kombu's hash of messages that a worker has taken and not acknowledged.
_UNACKED: Final = "unacked"
_RESULTS: Final = keys.result("*")


@dataclass(frozen=True)
class Tally:
    """Where jobs stand.

    Attributes:
        done: Jobs with a stored result.
        queued: Messages that wait for a worker.
        unacknowledged: Messages that a worker holds.
    """

    done: int
    queued: int
    unacknowledged: int


def count(client: Any, pool: str) -> Tally:
    """Count the jobs of a server.

    Args:
        client: A redis-py client.
        pool: The pool whose queue is counted.
    """
    queue = queue_name(pool)
    with client.pipeline(transaction=True) as pipe:
        for step in PRIORITY_STEPS:
            pipe.llen(keys.queue(queue, step, PRIORITY_STEPS))
        pipe.hlen(_UNACKED)
        *waiting, held = pipe.execute()
    done = sum(1 for _ in client.scan_iter(match=_RESULTS, count=1000))
    return Tally(done=done, queued=sum(waiting), unacknowledged=held)
