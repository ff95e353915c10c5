"""The names of all keys that Stoker keeps in Redis, beside Celery's own."""

from bisect import bisect_right
from typing import Final

# The priorities that have a list of their own: kombu's own steps. 0 is served first.
PRIORITY_STEPS: Final = (0, 3, 6, 9)

# Hash of job ID to when and where it was queued, for jobs that have not ended, as a list in JSON:
# the time, then pool, task, model and, if there are such, tenant (if these are counted) and
# retention. Of a stock producer's job there is the time alone.
JOBS: Final = "stoker:jobs"
# Sorted set of job IDs by time of start: jobs that a batch holds now.
RUNNING: Final = "stoker:running"
# Sorted set of deliveries that workers hold by the time at which each was last renewed, and the
# hash of these to their messages: kombu's own.
HELD: Final = "unacked_index"
HELD_MESSAGES: Final = "unacked"
# Hash of job ID to its message, for jobs that were given up because their workers kept dying.
DEAD: Final = "stoker:dead"
# Hash of job ID to its message, for jobs that failed and may be run again; a sorted set of these
# IDs by the time until which they are kept; and the sum of the messages' sizes.
KEPT: Final = "stoker:kept"
KEPT_UNTIL: Final = "stoker:kept:until"
KEPT_BYTES: Final = "stoker:kept:bytes"
# Sorted set of worker IDs by the time until which each may be believed alive.
WORKERS: Final = "stoker:workers"
# Sorted set of pool names by the time at which a worker of the pool was last seen.
POOLS: Final = "stoker:pools"
# Hash of worker ID to what it serves, as JSON.
SERVING: Final = "stoker:serving"
# Hash of job ID to who is to be told of its end, for jobs with a webhook that have not ended.
WISHES: Final = "stoker:webhooks:wishes"
# The outbox of webhooks. Sorted sets of event IDs by time: those to be delivered (since when),
# those delivered and those given up (when they came to be).
PENDING: Final = "stoker:webhooks:pending"
DELIVERED: Final = "stoker:webhooks:delivered"
DEAD_EVENTS: Final = "stoker:webhooks:dead"
# Sorted set of receivers' origins by the time at which an event for them is due.
ORIGINS: Final = "stoker:webhooks:origins"
# Hash of origin to how often in a row it failed, and until when it is left alone.
TROUBLE: Final = "stoker:webhooks:trouble"
# Sorted set of endpoints (URLs without their query) that said that they are gone, by time.
DISABLED: Final = "stoker:webhooks:disabled"
# There while a courier lives.
COURIER: Final = "stoker:webhooks:courier"
# The channel on which couriers hear of new events.
WAKE: Final = "stoker:webhooks:wake"
# Sum of the sizes of all artifacts, and a sorted set of their names by time of expiry.
ARTIFACT_BYTES: Final = "stoker:artifacts:bytes"
ARTIFACT_EXPIRY: Final = "stoker:artifacts:expiry"


def artifact(uri: str) -> str:
    """Name the key of an artifact's bytes."""
    return f"stoker:{uri}"


def canceled(job_id: str) -> str:
    """Name the tombstone of a canceled job."""
    return f"stoker:canceled:{job_id}"


def cached(digest: str) -> str:
    """Name the key that has the ID of a job whose result answers what this digest is of."""
    return f"stoker:cache:{digest}"


def deaths(job_id: str) -> str:
    """Name the count of workers that died while they ran a job."""
    return f"stoker:deaths:{job_id}"


def beside(job_id: str) -> str:
    """Name the count of workers that died while they held a job and did not run it."""
    return f"stoker:beside:{job_id}"


def event(event_id: str) -> str:
    """Name the hash of one webhook event: what it tells, to whom, and how far it is."""
    return f"stoker:webhook:{event_id}"


def attempts(event_id: str) -> str:
    """Name the list of a webhook event's attempts, as JSON."""
    return f"stoker:webhook:{event_id}:attempts"


def told_output(job_id: str) -> str:
    """Name the set of the IDs of a job's events of new text."""
    return f"stoker:webhooks:output:{job_id}"


def due(origin: str) -> str:
    """Name the sorted set of events for one origin that no attempt was made of, by due time."""
    return f"stoker:webhooks:due:{origin}"


def again(origin: str) -> str:
    """Name the sorted set of events for one origin that were not taken, by their next due time."""
    return f"stoker:webhooks:again:{origin}"


def idempotency(digest: str) -> str:
    """Name what is known of an idempotency key: its first request, and that one's job."""
    return f"stoker:idempotency:{digest}"


def keyed(job_id: str) -> str:
    """Name the key that has the name of a job's idempotency key."""
    return f"stoker:keyed:{job_id}"


def starts(job_id: str) -> str:
    """Name the count of a job's deliveries that were started and did not end it."""
    return f"stoker:starts:{job_id}"


def tenant(name: str) -> str:
    """Name the set of a tenant's jobs that have not ended; kept only where they are bounded."""
    return f"stoker:tenant:{name}"


def pace(bound: str) -> str:
    """Name the hash that tells how fast the places of a bounded queue or tenant become free."""
    return f"stoker:pace:{bound}"


def inputs(job_id: str) -> str:
    """Name the set of the artifacts that travelled beside a job's message."""
    return f"stoker:inputs:{job_id}"


def stream(job_id: str) -> str:
    """Name the stream of a job's text, and the channel on which its readers hear of new pieces."""
    return f"stoker:stream:{job_id}"


def stream_before(job_id: str) -> str:
    """Name the stream of a failed job's text while it is decided whether it runs again."""
    return f"stoker:stream:{job_id}:before"


def deleted(job_id: str) -> str:
    """Name the tombstone of a job whose data was deleted."""
    return f"stoker:deleted:{job_id}"


def result(job_id: str) -> str:
    """Name the key in which Celery's Redis backend keeps a job's result."""
    return f"celery-task-meta-{job_id}"


def probe(name: str) -> str:
    """Name a key by which two connections are found to lead to one database."""
    return f"stoker:probe:{name}"


def queue(queue_name: str, priority: int, steps: tuple[int, ...]) -> str:
    """Name the list in which kombu keeps a queue's messages of one priority.

    Args:
        queue_name: The queue.
        priority: The message's priority; 0 is served first.
        steps: The priorities that have a list of their own; others share the next lower one's.
    """
    step = step_of(priority, steps)
    return queue_name if step == 0 else f"{queue_name}\x06\x16{step}"


def step_of(priority: int, steps: tuple[int, ...] = PRIORITY_STEPS) -> int:
    """Give the step whose list a priority shares.

    Args:
        priority: A message's priority: any number.
        steps: The priorities that have a list of their own, in order.
    """
    return steps[max(bisect_right(steps, priority) - 1, 0)]
