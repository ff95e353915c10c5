"""Idempotency keys: the same request twice is one job, and its key is not taken for another."""

import hashlib
import json
from typing import Any, Final

from stoker_config.settings import DAY
from stoker_tasks.job import Job
from stoker_tasks.wire import to_kwargs

# A key is kept for so long while its job waits; from the job's end on, a worker's setting counts.
WAITING_SECONDS: Final = 90 * DAY


def digest_of(key: str, tenant: str | None) -> str:
    """Give the name under which a tenant's key is kept and travels: it may say who calls."""
    scoped = f"{tenant}\0{key}" if tenant else key
    return hashlib.sha256(scoped.encode()).hexdigest()[:40]


def fingerprint_of(job: Job, pool: str) -> str:
    """Give what is the same for two requests that ask for the same."""
    body: list[Any] = [job.task, pool, job.priority, to_kwargs(job)]
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:40]


# Puts jobs on their queues, unless the key of one is known: then its first job stands for it. If a
# key is known for another request, nothing at all is sent.
# KEYS: queued, placed, wishes, then for each job its list and its key, or its list again.
# ARGV: the time, seconds to keep a key, then for each job its ID, its place, its wish ('' for
# none), its message, and its fingerprint ('' without a key).
# Gives 1 and the jobs' IDs, or 0 and the number of the first job that is refused.
SUBMIT: Final = """
local ids, known, fresh = {1}, {}, {}
for i = 1, (#KEYS - 3) / 2 do
  local at = (i - 1) * 5 + 3
  local id, print = ARGV[at], ARGV[at + 4]
  local key = KEYS[2 * i + 3]
  fresh[i] = true
  if print ~= '' then
    local first = known[key] or redis.call('GET', key)
    if first then
      if string.sub(first, 1, #print) ~= print then return {0, i} end
      id, fresh[i] = string.sub(first, #print + 2), false
    else known[key] = print .. ' ' .. id end
  end
  ids[i + 1] = id
end
for i = 1, #fresh do
  if fresh[i] then
    local at = (i - 1) * 5 + 3
    local id = ARGV[at]
    if ARGV[at + 4] ~= '' then
      redis.call('SET', KEYS[2 * i + 3], ARGV[at + 4] .. ' ' .. id, 'EX', ARGV[2])
    end
    redis.call('ZADD', KEYS[1], ARGV[1], id)
    redis.call('HSET', KEYS[2], id, ARGV[at + 1])
    if ARGV[at + 2] ~= '' then redis.call('HSET', KEYS[3], id, ARGV[at + 2]) end
    redis.call('LPUSH', KEYS[2 * i + 2], ARGV[at + 3])
  end
end
return ids
"""
