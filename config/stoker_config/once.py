"""For how long idempotency keys stand, and how a job's own key is found to be kept or freed.

A key is kept beside its job's ID both ways: from the key to its first request and that one's job,
which is what a submit asks; and from the job to its key, for whoever ends, deletes or repeats it.
"""

from typing import Final

from stoker_config import keys
from stoker_config.clock import DAY

# A key is kept for so long while its job waits; from the job's end on, a setting counts.
WAITING_SECONDS: Final = 90 * DAY

_KEYED: Final = f"local KEYED = '{keys.keyed('')}'\n"

# take_key(key, value, id, seconds): lets a key stand for a job.
TAKE: Final = (
    _KEYED
    + """
local function take_key(key, value, id, seconds)
  redis.call('SET', key, value, 'EX', seconds)
  redis.call('SET', KEYED .. id, key, 'EX', seconds)
end
"""
)

# keep_key(id, seconds): lets a job's key, if it has one, stand for so long from now on.
KEEP: Final = (
    _KEYED
    + """
local function keep_key(id, seconds)
  local key = redis.call('GET', KEYED .. id)
  if not key then return end
  redis.call('EXPIRE', key, seconds)
  redis.call('EXPIRE', KEYED .. id, seconds)
end
"""
)

# free_key(id): lets the next request under a job's key be a job of its own.
FREE: Final = (
    _KEYED
    + """
local function free_key(id)
  local key = redis.call('GET', KEYED .. id)
  if key then redis.call('DEL', key, KEYED .. id) end
end
"""
)

# Lets the keys of jobs stand for so long from now on. ARGV: seconds, then the jobs' IDs.
KEEP_ALL: Final = KEEP + "for i = 2, #ARGV do keep_key(ARGV[i], ARGV[1]) end\n"
