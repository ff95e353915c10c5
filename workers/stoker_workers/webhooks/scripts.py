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
    "AGAIN": keys.again(""),
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
    "PATIENCE": 8,
    "LONGEST_PAUSE": 60,
    # How much is kept: of one event's attempts, and of endpoints that said that they are gone.
    "KEPT_ATTEMPTS": 50,
    "KEPT_DISABLED": 10_000,
    # In one claim of so many what waits to be posted again comes first.
    "TURNS": 4,
    # How many origins a claim looks at, and how many events of one it puts away that nobody is to
    # get.
    "MOST_ORIGINS": 1000,
    "MOST_ASIDE": 200,
}

# exact(seconds): a time as Redis is to have it, to the microsecond.
# endpoint(url): the URL without its query.
# first_due(origin): when the origin's next event is due; nil if it has none.
# done(id, origin): the event is not to be delivered any more.
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
local function first_due(origin)
  local new = redis.call('ZRANGE', DUE .. origin, 0, 0, 'WITHSCORES')[2]
  local old = redis.call('ZRANGE', AGAIN .. origin, 0, 0, 'WITHSCORES')[2]
  if new and old and tonumber(old) < tonumber(new) then return old end
  return new or old
end
local function done(id, origin)
  redis.call('ZREM', DUE .. origin, id)
  redis.call('ZREM', AGAIN .. origin, id)
  redis.call('ZREM', PENDING, id)
end
local function set_aside(id, origin, why, keep)
  local key = EVENT .. id
  done(id, origin)
  local created = redis.call('HGET', key, 'created')
  if not created or forgotten(id) then return end
  redis.call('HSET', key, 'state', 'dead', 'why', why, 'lease', '')
  redis.call('ZADD', DEAD, created, id)
  redis.call('EXPIRE', key, keep)
  redis.call('EXPIRE', key .. ATTEMPTS, keep)
end
"""
)

# Leases events that are due, the longest waiting origin's first. Of an origin's events, those that
# were never posted go before those that are posted again, but for one claim in four, by lot, so
# that neither waits for the other to come to an end. The last quarter of the free slots is for
# origins that have none yet. What nobody is to get any more takes no other event's turn.
# ARGV: seconds of a lease, how many events may be leased, how many of them are kept back, most of
# one origin, the leases' prefix, seconds to keep what is given up; then each origin that has posts
# under way, how many these are, and how many slots they hold.
# Gives for each event its ID, origin, lease, URL, secret, body and tries.
CLAIM: Final = (
    _COMMON
    + """
redis.call('SET', COURIER, exact(now), 'EX', COURIER_SECONDS)
local free, back, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local posts, slots = {}, {}
for i = 7, #ARGV, 3 do
  posts[ARGV[i]], slots[ARGV[i]] = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
end
local order = {DUE, AGAIN}
if tonumber(time[2]) % TURNS == 0 then order = {AGAIN, DUE} end
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
local function lease(id, origin, queue)
  local key = EVENT .. id
  local found = redis.call('HMGET', key, 'url', 'secret', 'body', 'tries')
  if not found[1] then
    done(id, origin)
    return false
  end
  if redis.call('ZSCORE', DISABLED, endpoint(found[1])) then
    set_aside(id, origin, 'disabled', ARGV[6])
    return false
  end
  n = n + 1
  local mark = ARGV[5] .. n
  redis.call('HSET', key, 'lease', mark)
  redis.call('ZADD', queue, exact(now + ARGV[1]), id)
  out[n] = {id, origin, mark, found[1], found[2], found[3], found[4]}
  return true
end

-- Leases events of one queue; gives what room is left.
local function lease_of(queue, origin, room)
  local aside = 0
  while room > 0 and n < free and aside < MOST_ASIDE do
    local some = math.min(room, free - n)
    local ids = redis.call('ZRANGEBYSCORE', queue, '-inf', exact(now), 'LIMIT', 0, some)
    if #ids == 0 then return room end
    for _, id in ipairs(ids) do
      if posts[origin] and free - n <= back then return 0 end
      if lease(id, origin, queue) then
        room = room - 1
        posts[origin] = (posts[origin] or 0) + 1
      else
        aside = aside + 1
      end
    end
  end
  return room
end

local origins = redis.call('ZRANGEBYSCORE', ORIGINS, '-inf', exact(now), 'LIMIT', 0, MOST_ORIGINS)
for _, origin in ipairs(origins) do
  if n >= free then break end
  local till, room = room_of(origin, slots[origin] or 0)
  if till then
    redis.call('ZADD', ORIGINS, till, origin)
  elseif room > 0 then
    for _, queue in ipairs(order) do room = lease_of(queue .. origin, origin, room) end
    local first = first_due(origin)
    if first then
      redis.call('ZADD', ORIGINS, first, origin)
    else
      redis.call('ZREM', ORIGINS, origin)
      redis.call('HDEL', TROUBLE, origin)
    end
  end
end
return out
"""
)

# Notes attempts and where each leaves its event, unless its lease has lapsed.
# ARGV: seconds to keep what is over; then for each attempt the event, its origin and lease, the
# attempt as JSON, what came of it (delivered, again, given_up or gone), seconds until the next
# attempt, what it says of the origin (well, trouble or nothing), seconds for which the origin asked
# to be left alone, and seconds since the attempt began.
# Gives for each 1, or 0 if the lease was another's.
NOTE: Final = (
    _COMMON
    + """
local keep = ARGV[1]

local function delivered(id, origin)
  local key = EVENT .. id
  done(id, origin)
  if forgotten(id) then return end
  redis.call('HSET', key, 'state', 'delivered', 'lease', '')
  redis.call('ZADD', DELIVERED, redis.call('HGET', key, 'created'), id)
  redis.call('EXPIRE', key, keep)
  redis.call('EXPIRE', key .. ATTEMPTS, keep)
end

local function again(id, origin, delay)
  local at = exact(now + delay)
  redis.call('HSET', EVENT .. id, 'lease', '')
  redis.call('ZREM', DUE .. origin, id)
  redis.call('ZADD', AGAIN .. origin, at, id)
  redis.call('ZADD', ORIGINS, 'LT', at, origin)
end

local function over(id, origin, why)
  local gone = endpoint(redis.call('HGET', EVENT .. id, 'url'))
  set_aside(id, origin, why, keep)
  if why == 'gone' then
    redis.call('ZADD', DISABLED, exact(now), gone)
    redis.call('ZREMRANGEBYRANK', DISABLED, 0, -KEPT_DISABLED - 1)
  end
end

local function trouble_of(origin)
  local found = redis.call('HGET', TROUBLE, origin) or '0:0'
  local failures, till = string.match(found, '^(%d+):(.*)$')
  return tonumber(failures), tonumber(till)
end

local function in_trouble(origin, asked, took)
  local failures, till = trouble_of(origin)
  local pause = math.min(tonumber(asked), LONGEST_PAUSE)
  -- What had begun before the origin was left alone says nothing new of it, though it may hang on
  -- for longer than that time.
  local after = failures < PATIENCE or now - tonumber(took) >= till
  if till <= now and after then
    failures = failures + 1
    if failures >= PATIENCE then
      pause = math.max(pause, math.min(2 ^ (failures - PATIENCE), LONGEST_PAUSE))
    end
  end
  till = exact(math.max(till, now + pause))
  redis.call('HSET', TROUBLE, origin, failures .. ':' .. till)
end

local function well(origin)
  local failures, till = trouble_of(origin)
  if till > now and failures < PATIENCE then
    -- It asked for this pause itself, and is left alone for it however well it is.
    redis.call('HSET', TROUBLE, origin, '0:' .. exact(till))
    return
  end
  if redis.call('HDEL', TROUBLE, origin) == 0 then return end
  -- It had been put off until its time was up, and is well before that.
  local first = first_due(origin)
  if first then redis.call('ZADD', ORIGINS, 'LT', first, origin) end
end

local function note(id, origin, lease, attempt, outcome, delay, says, asked, took)
  local key = EVENT .. id
  if redis.call('HGET', key, 'lease') ~= lease then return 0 end
  redis.call('HINCRBY', key, 'tries', 1)
  local attempts = redis.call('RPUSH', key .. ATTEMPTS, attempt)
  if attempts > KEPT_ATTEMPTS then redis.call('LTRIM', key .. ATTEMPTS, -KEPT_ATTEMPTS, -1) end
  redis.call('EXPIRE', key .. ATTEMPTS, redis.call('TTL', key))
  if outcome == 'delivered' then delivered(id, origin)
  elseif outcome == 'again' then again(id, origin, delay)
  else over(id, origin, outcome) end
  if says == 'trouble' then in_trouble(origin, asked, took)
  elseif says == 'well' then well(origin) end
  return 1
end

local out = {}
for i = 2, #ARGV, 9 do
  out[#out + 1] = note(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5],
    ARGV[i + 6], ARGV[i + 7], ARGV[i + 8])
end
return out
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
