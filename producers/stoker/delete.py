"""Deletes what is kept of a finished job: its result, its artifacts, its large inputs."""

import json
from enum import StrEnum
from typing import Any, Final

from stoker.retry import FORGET
from stoker_config import keys
from stoker_config.artifacts import ArtifactStore
from stoker_config.once import FREE
from stoker_tasks.result import referenced

# Looks what there is. The message of a job that is over goes at once: what is deleted may take a
# while, and its job must not be put back in the meantime.
# KEYS: the job's result and inputs, running, jobs, dead letters. ARGV: its ID.
# Gives its result and that one's digest, its inputs, whether it waits or runs, and whether a
# message was kept.
_LOOK: Final = (
    FORGET
    + """
local id, stored = ARGV[1], redis.call('GET', KEYS[1]) or ''
local state = string.match(stored, '"status": "(%u+)"')
local over = state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED'
local active = redis.call('ZSCORE', KEYS[3], id) or redis.call('HGET', KEYS[4], id)
local kept = 0
if over or not active then
  kept = redis.call('HEXISTS', KEPT, id)
  forget_message(id)
  kept = kept + redis.call('HDEL', KEYS[5], id)
end
return {
  stored, redis.sha1hex(stored), redis.call('SMEMBERS', KEYS[2]), active and 1 or 0, kept
}
"""
)
# A dead letter is the job's message, with its inputs; so is what is kept of a failed one. The
# tombstone of a canceled job stays: its message may still wait somewhere. What frees memory comes
# first, so that a server that has none left refuses nothing. A message that came to be kept after
# the look may have put the job back: then nothing goes.
# KEYS: dead letters, the tombstone of a deleted job, running, jobs, the job's result, then what
# goes beside it. ARGV: ID, seconds, the digest of the result that was seen. Gives whether it went.
_DELETE: Final = (
    FORGET
    + FREE
    + """
local id, stored = ARGV[1], redis.call('GET', KEYS[5])
if stored then
  if redis.sha1hex(stored) ~= ARGV[3] then return 0 end
elseif redis.call('ZSCORE', KEYS[3], id) or redis.call('HGET', KEYS[4], id) then return 0 end
redis.call('DEL', unpack(KEYS, 5))
redis.call('HDEL', KEYS[1], id)
forget_message(id)
free_key(id)
redis.call('SET', KEYS[2], '1', 'EX', ARGV[2])
return 1
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
            still there, so that the call can be repeated; the job cannot be run again any more.
    """
    while (answer := _delete(client, store, job_id, expires)) is None:
        pass
    return answer


def _delete(client: Any, store: ArtifactStore, job_id: str, expires: int) -> DeleteAnswer | None:
    """Delete a job; None if it was put back in the meantime, and it has to be looked at anew."""
    names = [keys.result(job_id), keys.inputs(job_id), keys.RUNNING, keys.JOBS, keys.DEAD]
    stored, digest, inputs, active, message = client.eval(_LOOK, len(names), *names, job_id)
    meta = json.loads(stored) if stored else {}
    if meta.get("status") not in _FINAL:
        if active:
            return DeleteAnswer.NOT_FINISHED
        if not inputs and not message:
            return DeleteAnswer.NOT_FOUND
    store.delete([*(each.decode() for each in inputs), *_artifacts(meta)])
    kept = (keys.result, keys.inputs, keys.deaths, keys.beside, keys.starts, keys.stream)
    names = [keys.DEAD, keys.deleted(job_id), keys.RUNNING, keys.JOBS]
    names += [each(job_id) for each in kept]
    went = client.eval(_DELETE, len(names), *names, job_id, expires, digest)
    return DeleteAnswer.DELETED if went else None


def _artifacts(meta: dict[str, Any]) -> list[str]:
    result = meta["result"] if meta.get("status") == "SUCCESS" else {}
    uri = referenced(result.get("output"))
    named = [str(each["uri"]) for each in result.get("artifacts", ())]
    return [*named, uri] if uri else named
