"""The Lua scripts of the courier: each takes events, or notes what came of one, in one step.

All times are the server's. Which keys there are, and what each holds, is in `stoker_config.keys`.
"""

from typing import Final

from stoker_config import keys, outbox

# What the scripts call by a name: keys, what keys begin with, and bounds.
_NAMES: Final = {
    "EVENT": keys.event(""),
    "ATTEMPTS": keys.attempts("").removeprefix(keys.event("")),
    "DUE": keys.due(""),
    "DELETED": keys.deleted(""),
    "PENDING": keys.PENDING,
    "DELIVERED": keys.DELIVERED,
    "DEAD": keys.DEAD_EVENTS,
    "DISABLED": keys.DISABLED,
    "ORIGINS": keys.ORIGINS,
    "TROUBLE": keys.TROUBLE,
    "COURIER": keys.COURIER,
    "COURIER_SECONDS": outbox.ALIVE_SECONDS,
    # After so many failures in a row an origin is left alone for a time, and then tried with one.
    "PATIENCE": 5,
    "LONGEST_PAUSE": 60,
    # How much is kept: of one event's attempts, and of endpoints that said that they are gone.
    "KEPT_ATTEMPTS": 50,
    "KEPT_DISABLED": 10_000,
    # How many origins a claim looks at, and how many events of one it puts away that nobody is to
    # get.
    "MOST_ORIGINS": 1000,
    "MOST_ASIDE": 200,
}

# exact(seconds): a time as Redis is to have it, to the microsecond.
# endpoint(url): the URL without its query.
# forgotten(id): forgets an event that is over if its job was deleted, whose result it may quote.
# set_aside(id, origin, why, keep): gives an event up; it is kept for a while, to be looked at.
_COMMON: Final = (
    "".join(f"local {name} = {value!r}\n" for name, value in _NAMES.items())
    + """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function exact(seconds) return string.format('%.6f', seconds) end
local function endpoint(url) return string.match(url, '^[^?]*') end
local function forgotten(id)
  local key = EVENT .. id
  local job = redis.call('HGET', key, 'job')
  if not job or redis.call('EXISTS', DELETED .. job) == 0 then return false end
  redis.call('DEL', key, key .. ATTEMPTS)
  return true
end
local function set_aside(id, origin, why, keep)
  local key = EVENT .. id
  redis.call('ZREM', DUE .. origin, id)
  redis.call('ZREM', PENDING, id)
  local created = redis.call('HGET', key, 'created')
  if not created or forgotten(id) then return end
  redis.call('HSET', key, 'state', 'dead', 'why', why, 'lease', '')
  redis.call('ZADD', DEAD, created, id)
  redis.call('EXPIRE', key, keep)
  redis.call('EXPIRE', key .. ATTEMPTS, keep)
end
"""
)

# Leases events that are due, the longest waiting origin's first. The last quarter of the free slots
# is for origins that have none yet. What nobody is to get any more takes no other event's turn.
# ARGV: seconds of a lease, free slots, how many of them are kept back, most of one origin, the
# leases' prefix, seconds to keep what is given up; then each origin that has slots, and how many.
# Gives for each event its ID, origin, lease, URL, secret, body and tries.
CLAIM: Final = (
    _COMMON
    + """
redis.call('SET', COURIER, exact(now), 'EX', COURIER_SECONDS)
local free, back, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local busy = {}
for i = 7, #ARGV, 2 do busy[ARGV[i]] = tonumber(ARGV[i + 1]) end
local out, n = {}, 0

-- Until when an origin is left alone, if it is, and how many of its events may be leased now.
local function room_of(origin, has)
  local trouble = redis.call('HGET', TROUBLE, origin)
  if not trouble then return nil, most - has end
  local failures, till = string.match(trouble, '^(%d+):(.*)$')
  if tonumber(till) > now then return till, 0 end
  if tonumber(failures) >= PATIENCE then return nil, math.min(most, 1) - has end
  return nil, most - has
end

-- Leases one event; false if there is nothing to be posted.
local function lease(id, origin)
  local key = EVENT .. id
  local found = redis.call('HMGET', key, 'url', 'secret', 'body', 'tries')
  if not found[1] then
    redis.call('ZREM', DUE .. origin, id)
    redis.call('ZREM', PENDING, id)
    return false
  end
  if redis.call('ZSCORE', DISABLED, endpoint(found[1])) then
    set_aside(id, origin, 'disabled', ARGV[6])
    return false
  end
  n = n + 1
  local mark = ARGV[5] .. n
  redis.call('HSET', key, 'lease', mark)
  redis.call('ZADD', DUE .. origin, exact(now + ARGV[1]), id)
  out[n] = {id, origin, mark, found[1], found[2], found[3], found[4]}
  return true
end

local function lease_of(origin, has, room)
  local aside = 0
  while room > 0 and n < free and aside < MOST_ASIDE do
    local some = math.min(room, free - n)
    local ids = redis.call('ZRANGEBYSCORE', DUE .. origin, '-inf', exact(now), 'LIMIT', 0, some)
    if #ids == 0 then return end
    for _, id in ipairs(ids) do
      if has > 0 and free - n <= back then return end
      if lease(id, origin) then room, has = room - 1, has + 1
      else aside = aside + 1 end
    end
  end
end

local origins = redis.call('ZRANGEBYSCORE', ORIGINS, '-inf', exact(now), 'LIMIT', 0, MOST_ORIGINS)
for _, origin in ipairs(origins) do
  if n >= free then break end
  local has = busy[origin] or 0
  local till, room = room_of(origin, has)
  if till then
    redis.call('ZADD', ORIGINS, till, origin)
  elseif room > 0 then
    lease_of(origin, has, room)
    local first = redis.call('ZRANGE', DUE .. origin, 0, 0, 'WITHSCORES')
    if first[2] then
      redis.call('ZADD', ORIGINS, first[2], origin)
    else
      redis.call('ZREM', ORIGINS, origin)
      redis.call('HDEL', TROUBLE, origin)
    end
  end
end
return out
"""
)

# Notes an attempt and where it leaves its event, unless the lease has lapsed.
# ARGV: event, origin, lease, the attempt as JSON, what came of it (delivered, again, given_up or
# gone), seconds until the next attempt, seconds to keep what is over, what it says of the origin
# (well, trouble or nothing), seconds for which the origin asked to be left alone, seconds since the
# attempt began.
# Gives 1, or 0 if the lease was another's.
NOTE: Final = (
    _COMMON
    + """
local id, origin, outcome, keep = ARGV[1], ARGV[2], ARGV[5], ARGV[7]
local key = EVENT .. id
if redis.call('HGET', key, 'lease') ~= ARGV[3] then return 0 end
redis.call('HINCRBY', key, 'tries', 1)
redis.call('RPUSH', key .. ATTEMPTS, ARGV[4])
redis.call('LTRIM', key .. ATTEMPTS, -KEPT_ATTEMPTS, -1)
redis.call('EXPIRE', key .. ATTEMPTS, redis.call('TTL', key))

if outcome == 'delivered' then
  redis.call('ZREM', DUE .. origin, id)
  redis.call('ZREM', PENDING, id)
  if not forgotten(id) then
    redis.call('HSET', key, 'state', 'delivered', 'lease', '')
    redis.call('ZADD', DELIVERED, redis.call('HGET', key, 'created'), id)
    redis.call('EXPIRE', key, keep)
    redis.call('EXPIRE', key .. ATTEMPTS, keep)
  end
elseif outcome == 'again' then
  local at = exact(now + ARGV[6])
  redis.call('HSET', key, 'lease', '')
  redis.call('ZADD', DUE .. origin, at, id)
  redis.call('ZADD', ORIGINS, 'LT', at, origin)
else
  local gone = endpoint(redis.call('HGET', key, 'url'))
  set_aside(id, origin, outcome, keep)
  if outcome == 'gone' then
    redis.call('ZADD', DISABLED, exact(now), gone)
    redis.call('ZREMRANGEBYRANK', DISABLED, 0, -KEPT_DISABLED - 1)
  end
end

local function in_trouble()
  local before = redis.call('HGET', TROUBLE, origin) or '0:0'
  local failures, till = string.match(before, '^(%d+):(.*)$')
  failures, till = tonumber(failures), tonumber(till)
  local pause = math.min(tonumber(ARGV[9]), LONGEST_PAUSE)
  -- What had begun before the origin was left alone says nothing new of it, though it may hang on
  -- for longer than that time.
  local after = failures < PATIENCE or now - tonumber(ARGV[10]) >= till
  if till <= now and after then
    failures = failures + 1
    if failures >= PATIENCE then
      pause = math.max(pause, math.min(2 ^ (failures - PATIENCE), LONGEST_PAUSE))
    end
  end
  till = exact(math.max(till, now + pause))
  redis.call('HSET', TROUBLE, origin, failures .. ':' .. till)
end

local function well()
  if redis.call('HDEL', TROUBLE, origin) == 0 then return end
  -- It had been put off until its time was up, and is well before that.
  local first = redis.call('ZRANGE', DUE .. origin, 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', ORIGINS, 'LT', first[2], origin) end
end

if ARGV[8] == 'trouble' then in_trouble() elseif ARGV[8] == 'well' then well() end
return 1
"""
)

# Gives up what has waited for too long, and forgets of what is over what has expired.
# ARGV: seconds after which an event is given up, seconds to keep what is over, at most how many.
# Gives how many were given up.
SWEEP: Final = (
    _COMMON
    + """
local old = redis.call(
  'ZRANGEBYSCORE', PENDING, '-inf', exact(now - ARGV[1]), 'LIMIT', 0, ARGV[3])
for _, id in ipairs(old) do
  local origin = redis.call('HGET', EVENT .. id, 'origin')
  if origin then set_aside(id, origin, 'given_up', ARGV[2])
  else redis.call('ZREM', PENDING, id) end
end
for _, index in ipairs({DELIVERED, DEAD}) do
  local ids = redis.call(
    'ZRANGEBYSCORE', index, '-inf', exact(now - ARGV[2]), 'LIMIT', 0, ARGV[3])
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', EVENT .. id) == 0 then redis.call('ZREM', index, id) end
  end
  redis.call('ZREMRANGEBYSCORE', index, '-inf', exact(now - ARGV[1] - ARGV[2]))
end
return #old
"""
)
