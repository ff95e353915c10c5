"""Deletes what is kept of a finished job: its result, its artifacts, its large inputs."""

import json
from enum import StrEnum
from typing import Any, Final

from stoker.retry import FORGET
from stoker_config import keys
from stoker_config.artifacts import ArtifactStore
from stoker_config.once import FREE
from stoker_tasks.result import referenced

# KEYS: the job's result and inputs, running, queued. ARGV: its ID.
_LOOK: Final = """
return {
  redis.call('GET', KEYS[1]), redis.call('SMEMBERS', KEYS[2]),
  redis.call('ZSCORE', KEYS[3], ARGV[1]), redis.call('ZSCORE', KEYS[4], ARGV[1])
}
"""
# A dead letter is the job's message, with its inputs; so is what is kept of a failed one. The
# tombstone of a canceled job stays: its message may still wait somewhere. What frees memory comes
# first, so that a server that has none left refuses nothing.
# KEYS: dead letters, the tombstone of a deleted job, then what goes. ARGV: ID, seconds.
_DELETE: Final = (
    FORGET
    + FREE
    + """
local id = ARGV[1]
redis.call('DEL', unpack(KEYS, 3))
redis.call('HDEL', KEYS[1], id)
forget_message(id)
free_key(id)
redis.call('SET', KEYS[2], '1', 'EX', ARGV[2])
"""
)
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
    names = [keys.result(job_id), keys.inputs(job_id), keys.RUNNING, keys.QUEUED]
    stored, inputs, running, queued = client.eval(_LOOK, len(names), *names, job_id)
    meta = json.loads(stored) if stored else {}
    if meta.get("status") not in _FINAL:
        if running is not None or queued is not None:
            return DeleteAnswer.NOT_FINISHED
        if not inputs:
            return DeleteAnswer.NOT_FOUND
    # A final state is never replaced: what was read is all that there will be.
    store.delete([*(each.decode() for each in inputs), *_artifacts(meta)])
    kept = (keys.result, keys.inputs, keys.deaths, keys.starts, keys.stream)
    names = [keys.DEAD, keys.deleted(job_id), *(each(job_id) for each in kept)]
    client.eval(_DELETE, len(names), *names, job_id, expires)
    return DeleteAnswer.DELETED


def _artifacts(meta: dict[str, Any]) -> list[str]:
    result = meta["result"] if meta.get("status") == "SUCCESS" else {}
    uri = referenced(result.get("output"))
    named = [str(each["uri"]) for each in result.get("artifacts", ())]
    return [*named, uri] if uri else named
