"""The Lua scripts that store results: with their events, and only for those who hold the jobs."""

from collections.abc import Sequence
from typing import Any, Final

import redis

from stoker_config import keys, outbox
from stoker_config.servers import is_full
from stoker_tasks.event import Event

# Acknowledges what was held, and forgets jobs that have ended.
_END: Final = """
if #held > 0 then
  redis.call('ZREM', KEYS[3], unpack(held))
  redis.call('HDEL', KEYS[4], unpack(held))
end
if #ids > 0 then
  redis.call('HDEL', KEYS[1], unpack(ids))
  redis.call('ZREM', KEYS[2], unpack(ids))
end
for id, set in pairs(counted) do redis.call('SREM', set, id) end
if #told > 0 then
  redis.call('HDEL', WISHES, unpack(told))
  wake()
end
return late
"""

# Stores each result, puts the event that tells of it into the outbox and acknowledges its delivery,
# in one step. A delivery that is held no longer is another worker's by now: nothing of it is
# stored. A final state is never replaced, so repeating the call does nothing. SET NX spares the
# reading in the usual case that there is no state yet.
# KEYS: jobs, running, index and hash of held deliveries, then each job's result key.
# ARGV: for each job its value, seconds to keep it, its delivery's tag ('' for a stock one), and the
# tenant among whose jobs it counts ('' if nobody counts); then for each job with a webhook its
# number, and the event.
# Gives how many deliveries were held no longer.
STORE: Final = (
    outbox.EMIT
    + f"local FIELDS, WISHES, TENANT = {outbox.FIELDS}, '{keys.WISHES}', '{keys.tenant('')}'\n"
    + """
local tags, scores, held, ids, late = {}, {}, {}, {}, 0
local events, told, counted = {}, {}, {}
local jobs = #KEYS - 4
for at = 4 * jobs + 1, #ARGV, FIELDS + 1 do events[tonumber(ARGV[at])] = at + 1 end
for i = 5, #KEYS do
  local tag = ARGV[(i - 5) * 4 + 3]
  if tag ~= '' then tags[#tags + 1] = tag end
end
if #tags > 0 then scores = redis.call('ZMSCORE', KEYS[3], unpack(tags)) end
local t = 0
for i = 5, #KEYS do
  local at = (i - 5) * 4
  local value, expires, tag = ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local ours = true
  if tag ~= '' then
    t = t + 1
    ours = scores[t]
    if ours then held[#held + 1] = tag else late = late + 1 end
  end
  if ours then
    local id = string.match(KEYS[i], '^celery%-task%-meta%-(.*)$')
    local put
    if expires > 0 then put = redis.call('SET', KEYS[i], value, 'EX', expires, 'NX')
    else put = redis.call('SET', KEYS[i], value, 'NX') end
    if not put then
      local state = string.match(redis.call('GET', KEYS[i]) or '', '"status": "(%u+)"')
      if state ~= 'SUCCESS' and state ~= 'FAILURE' and state ~= 'REVOKED' then
        if expires > 0 then redis.call('SET', KEYS[i], value, 'EX', expires)
        else redis.call('SET', KEYS[i], value) end
        put = true
      end
    end
    if put then
      redis.call('PUBLISH', KEYS[i], value)
      if events[i - 4] then emit(events[i - 4]); told[#told + 1] = id end
    end
    ids[#ids + 1] = id
    if ARGV[at + 4] ~= '' then counted[id] = TENANT .. ARGV[at + 4] end
  end
end
"""
    + _END
)

# Where results have a server of their own: stores each there, unless it has a final state, which is
# never replaced.
# KEYS: each job's result key. ARGV: for each its value and seconds to keep it.
# Gives for each what stands there instead, or '' if it was stored.
SETTLE: Final = """
local stands = {}
for i, key in ipairs(KEYS) do
  local value, expires = ARGV[2 * i - 1], tonumber(ARGV[2 * i])
  local before = redis.call('GET', key)
  local state = string.match(before or '', '"status": "(%u+)"')
  if state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED' then stands[i] = before
  else
    if expires > 0 then redis.call('SET', key, value, 'EX', expires)
    else redis.call('SET', key, value) end
    redis.call('PUBLISH', key, value)
    stands[i] = ''
  end
end
return stands
"""

# And then, on the broker's server: puts the events that tell of these results into the outbox and
# acknowledges their deliveries, in one step, for those that are still held. An event that was told
# is not told again, so repeating the call does nothing.
# KEYS: jobs, running, index and hash of held deliveries.
# ARGV: how many jobs; for each its ID, its delivery's tag ('' for a stock one), and the tenant
# among whose jobs it counts ('' if nobody counts); then for each job with a webhook its number, and
# the event.
# Gives how many deliveries were held no longer.
CONCLUDE: Final = (
    outbox.EMIT
    + f"local FIELDS, WISHES, TENANT = {outbox.FIELDS}, '{keys.WISHES}', '{keys.tenant('')}'\n"
    + """
local held, ids, late = {}, {}, 0
local events, told, counted = {}, {}, {}
local jobs = tonumber(ARGV[1])
for at = 3 * jobs + 2, #ARGV, FIELDS + 1 do events[tonumber(ARGV[at])] = at + 1 end
for i = 1, jobs do
  local id, tag, tenant = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  if tag ~= '' and not redis.call('ZSCORE', KEYS[3], tag) then late = late + 1
  else
    if tag ~= '' then held[#held + 1] = tag end
    if events[i] then emit(events[i]); told[#told + 1] = id end
    ids[#ids + 1] = id
    if tenant ~= '' then counted[id] = TENANT .. tenant end
  end
end
"""
    + _END
)

# The same on a server that has refused it for want of memory. Where the messages that go are larger
# than what is stored in their place, it is not refused now: a script that begins with a write that
# takes no memory, here of nothing, is run to its end. So a queue that has filled it is worked off.
STORE_WHEN_FULL: Final = (
    """
do
  local freed, added = 0, 0
  for i = 1, #ARGV do added = added + #ARGV[i] end
  for i = 5, #KEYS do
    freed = freed + redis.call('HSTRLEN', KEYS[4], ARGV[(i - 5) * 4 + 3])
  end
  if added < freed then redis.call('HDEL', KEYS[1], '') end
end
"""
    + STORE
)

# Likewise where results have a server of their own: of what is told, and the messages that go.
CONCLUDE_WHEN_FULL: Final = (
    """
do
  local freed, added, jobs = 0, 0, tonumber(ARGV[1])
  for i = 3 * jobs + 2, #ARGV do added = added + #ARGV[i] end
  for i = 1, jobs do freed = freed + redis.call('HSTRLEN', KEYS[4], ARGV[3 * i]) end
  if added < freed then redis.call('HDEL', KEYS[1], '') end
end
"""
    + CONCLUDE
)


def numbered(events: Sequence[Event | None]) -> list[Any]:
    """Give what scripts take of the events of some results: each with its result's number."""
    return [
        arg
        for number, event in enumerate(events, 1)
        if event is not None
        for arg in (number, *outbox.fields(event))
    ]


def run_or_when_full(script: Any, when_full: Any, **call: Any) -> Any:
    """Run a script and, where the server has no memory for it, the one for that case.

    Raises:
        redis.OutOfMemoryError: That one was refused as well.
    """
    try:
        return script(**call)
    except redis.ResponseError as error:
        if not is_full(error):
            raise
    return run_script(when_full, **call)


def run_script(script: Any, **call: Any) -> Any:
    """Run a script: some servers tell of a want of memory inside one in words of their own.

    Raises:
        redis.OutOfMemoryError: The server has no memory for it.
    """
    try:
        return script(**call)
    except redis.ResponseError as error:
        raise (redis.OutOfMemoryError(str(error)) if is_full(error) else error) from None
