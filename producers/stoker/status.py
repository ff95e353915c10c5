"""Where a job stands: read from Redis in one round trip, and never guessed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from stoker_config import keys
from stoker_config.serving import Registry, Serving


class State(StrEnum):
    """The states of a job, under the names they have everywhere."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    # No job has this ID, or its result has expired.
    UNKNOWN = "unknown"


_TERMINAL: Final = {State.SUCCEEDED, State.FAILED, State.CANCELED, State.EXPIRED}


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a job stands.

    Attributes:
        id: The job's ID.
        state: Its state.
        terminal: Whether the state is the job's last.
        waiting_for: Why no worker will take a queued job as things are; None if one will.
    """

    id: str
    state: State
    terminal: bool
    waiting_for: str | None = None


class CancelAnswer(StrEnum):
    """The four answers to a wish to cancel."""

    CANCELED = "canceled"  # it had not been started, and will not be
    CANCELING = "canceling"  # it runs; its result will be discarded
    ALREADY_FINISHED = "already_finished"
    NOT_FOUND = "not_found"


def read_status(client: Any, registry: Registry, job_id: str) -> Status:
    """Read where a job stands.

    Args:
        client: A redis-py client.
        registry: Who serves what.
        job_id: The job's ID.
    """
    with client.pipeline(transaction=True) as pipe:
        pipe.get(keys.result(job_id))
        pipe.exists(keys.canceled(job_id))
        pipe.zscore(keys.RUNNING, job_id)
        pipe.zscore(keys.QUEUED, job_id)
        pipe.hget(keys.PLACED, job_id)
        stored, canceled, running, queued, placed = pipe.execute()
    state = _final(stored)
    waiting_for = None
    if state is None and running is not None:
        state = State.CANCELING if canceled else State.RUNNING
    elif state is None and queued is not None:
        state = State.QUEUED
        if placed is not None:
            reason = explain(registry.workers(), *json.loads(placed))
            waiting_for = reason.text if reason else None
    state = state or State.UNKNOWN
    return Status(id=job_id, state=state, terminal=state in _TERMINAL, waiting_for=waiting_for)


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


def _final(stored: bytes | None) -> State | None:
    if stored is None:
        return None
    meta = json.loads(stored)
    match meta["status"]:
        case "SUCCESS":
            return State.SUCCEEDED
        case "REVOKED":
            return State.EXPIRED if "expired" in _words(meta["result"]) else State.CANCELED
        case "FAILURE":
            return State.FAILED
    return None


def _words(result: Any) -> list[Any]:
    return list(result.get("exc_message") or ()) if isinstance(result, dict) else []
