"""Deletes what is kept of a finished job: its result, its artifacts, its large inputs."""

import json
from enum import StrEnum
from typing import Any, Final

from stoker.retry import forget
from stoker_config import keys
from stoker_config.artifacts import ArtifactStore
from stoker_tasks.result import referenced

_FINAL: Final = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


class DeleteAnswer(StrEnum):
    """The three answers to a wish to delete."""

    DELETED = "deleted"  # nothing of it is left
    NOT_FINISHED = "not_finished"  # it waits or runs: cancel it first
    NOT_FOUND = "not_found"  # nothing is kept under this ID


def delete(client: Any, store: ArtifactStore, job_id: str, expires: int) -> DeleteAnswer:
    """Delete what is kept of a job, if it is finished.

    Args:
        client: A redis-py client.
        store: Where its artifacts are.
        job_id: The job's ID.
        expires: Seconds for which its ID is still known as that of a job that was deleted.

    Raises:
        StorageUnavailable: The store does not answer. The result, which names the artifacts, is
            still there, so that the call can be repeated.
    """
    with client.pipeline(transaction=True) as pipe:
        pipe.get(keys.result(job_id))
        pipe.smembers(keys.inputs(job_id))
        pipe.zscore(keys.RUNNING, job_id)
        pipe.zscore(keys.QUEUED, job_id)
        stored, inputs, running, queued = pipe.execute()
    meta = json.loads(stored) if stored else {}
    if meta.get("status") not in _FINAL:
        if running is not None or queued is not None:
            return DeleteAnswer.NOT_FINISHED
        if not inputs:
            return DeleteAnswer.NOT_FOUND
    # A final state is never replaced: what was read is all that there will be.
    store.delete([*(each.decode() for each in inputs), *_artifacts(meta)])
    # A canceled job's own tombstone stays: its message may still wait somewhere.
    with client.pipeline(transaction=True) as pipe:
        pipe.set(keys.deleted(job_id), "1", ex=expires)
        pipe.delete(keys.result(job_id), keys.inputs(job_id), keys.deaths(job_id))
        pipe.delete(keys.starts(job_id))
        # A dead letter is the job's message, with its inputs; so is what is kept of a failed one.
        pipe.hdel(keys.DEAD, job_id)
        forget(pipe, job_id)
        pipe.execute()
    return DeleteAnswer.DELETED


def _artifacts(meta: dict[str, Any]) -> list[str]:
    result = meta["result"] if meta.get("status") == "SUCCESS" else {}
    uri = referenced(result.get("output"))
    named = [str(each["uri"]) for each in result.get("artifacts", ())]
    return [*named, uri] if uri else named
