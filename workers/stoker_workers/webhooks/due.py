"""The events that are due: each is leased before it is posted, and marked by what came of it.

Events wait in one sorted set for each origin, so that those for a receiver that is dead or slow
stand in nobody's way. All times are the server's. A lease that lapses makes its event due again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from stoker_config import keys, outbox

# After so many failures in a row an origin is left alone for a time, and then tried with one event.
_PATIENCE: Final = 5
_LONGEST_PAUSE: Final = 60.0
# How much is kept: of one event's attempts, and of endpoints that said that they are gone.
_ATTEMPTS: Final = 50
_DISABLED: Final = 10_000
_SWEEP: Final = 500

_NOW: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function exact(seconds) return string.format('%.6f', seconds) end
"""
# forgotten(id): forgets an event that is over if its job was deleted, whose result it may quote.
# set_aside(id, origin, why): gives an event up; it is kept for a while, to be looked at.
_SET_ASIDE: Final = f"""
local function forgotten(id)
  local key = '{keys.event("")}' .. id
  local job = redis.call('HGET', key, 'job')
  if not job or redis.call('EXISTS', '{keys.deleted("")}' .. job) == 0 then return false end
  redis.call('DEL', key, key .. ':attempts')
  return true
end
local function set_aside(id, origin, why, keep)
  local key = '{keys.event("")}' .. id
  redis.call('ZREM', '{keys.due("")}' .. origin, id)
  redis.call('ZREM', '{keys.PENDING}', id)
  local created = redis.call('HGET', key, 'created')
  if not created or forgotten(id) then return end
  redis.call('HSET', key, 'state', 'dead', 'why', why, 'lease', '')
  redis.call('ZADD', '{keys.DEAD_EVENTS}', created, id)
  redis.call('EXPIRE', key, keep)
  redis.call('EXPIRE', key .. ':attempts', keep)
end
"""

# Leases events that are due, the longest waiting origin's first. The last quarter of the free slots
# is for origins that have none yet.
# ARGV: seconds of a lease, free slots, how many of them are kept back, most of one origin, the
# leases' prefix, seconds to keep what is given up; then each origin that has slots, and how many.
_CLAIM: Final = (
    _NOW
    + _SET_ASIDE
    + f"""
redis.call('SET', '{keys.COURIER}', exact(now), 'EX', {outbox.ALIVE_SECONDS})
local free, back, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local busy = {{}}
for i = 7, #ARGV, 2 do busy[ARGV[i]] = tonumber(ARGV[i + 1]) end
local out, n = {{}}, 0
local origins = redis.call('ZRANGEBYSCORE', '{keys.ORIGINS}', '-inf', exact(now), 'LIMIT', 0, 1000)
for _, origin in ipairs(origins) do
  if n >= free then break end
  local has = busy[origin] or 0
  local room = most - has
  local due = '{keys.due("")}' .. origin
  local trouble = redis.call('HGET', '{keys.TROUBLE}', origin)
  local wait
  if trouble then
    local failures, till = string.match(trouble, '^(%d+):(.*)$')
    if tonumber(till) > now then wait = till
    elseif tonumber(failures) >= {_PATIENCE} then room = math.min(room, 1 - has) end
  end
  if wait then
    redis.call('ZADD', '{keys.ORIGINS}', wait, origin)
  elseif room > 0 then
    local most_here = math.min(room, free - n)
    local ids = redis.call('ZRANGEBYSCORE', due, '-inf', exact(now), 'LIMIT', 0, most_here)
    for _, id in ipairs(ids) do
      if has > 0 and free - n <= back then break end
      local key = '{keys.event("")}' .. id
      local found = redis.call('HMGET', key, 'url', 'secret', 'body', 'tries')
      if not found[1] then
        redis.call('ZREM', due, id)
        redis.call('ZREM', '{keys.PENDING}', id)
      elseif redis.call('ZSCORE', '{keys.DISABLED}', string.match(found[1], '^[^?]*')) then
        set_aside(id, origin, 'disabled', ARGV[6])
      else
        n, has = n + 1, has + 1
        local lease = ARGV[5] .. n
        redis.call('HSET', key, 'lease', lease)
        redis.call('ZADD', due, exact(now + ARGV[1]), id)
        out[#out + 1] = {{id, origin, lease, found[1], found[2], found[3], found[4]}}
      end
    end
    local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
    if first[2] then
      redis.call('ZADD', '{keys.ORIGINS}', first[2], origin)
    else
      redis.call('ZREM', '{keys.ORIGINS}', origin)
      redis.call('HDEL', '{keys.TROUBLE}', origin)
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
_NOTE: Final = (
    _NOW
    + _SET_ASIDE
    + f"""
local id, origin, outcome, keep = ARGV[1], ARGV[2], ARGV[5], ARGV[7]
local key = '{keys.event("")}' .. id
if redis.call('HGET', key, 'lease') ~= ARGV[3] then return 0 end
redis.call('HINCRBY', key, 'tries', 1)
redis.call('RPUSH', key .. ':attempts', ARGV[4])
redis.call('LTRIM', key .. ':attempts', -{_ATTEMPTS}, -1)
redis.call('EXPIRE', key .. ':attempts', redis.call('TTL', key))
if outcome == 'delivered' then
  redis.call('ZREM', '{keys.due("")}' .. origin, id)
  redis.call('ZREM', '{keys.PENDING}', id)
  if not forgotten(id) then
    redis.call('HSET', key, 'state', 'delivered', 'lease', '')
    redis.call('ZADD', '{keys.DELIVERED}', redis.call('HGET', key, 'created'), id)
    redis.call('EXPIRE', key, keep)
    redis.call('EXPIRE', key .. ':attempts', keep)
  end
elseif outcome == 'again' then
  local at = exact(now + ARGV[6])
  redis.call('HSET', key, 'lease', '')
  redis.call('ZADD', '{keys.due("")}' .. origin, at, id)
  redis.call('ZADD', '{keys.ORIGINS}', 'LT', at, origin)
else
  local endpoint = string.match(redis.call('HGET', key, 'url'), '^[^?]*')
  set_aside(id, origin, outcome, keep)
  if outcome == 'gone' then
    redis.call('ZADD', '{keys.DISABLED}', exact(now), endpoint)
    redis.call('ZREMRANGEBYRANK', '{keys.DISABLED}', 0, -{_DISABLED} - 1)
  end
end
if ARGV[8] == 'trouble' then
  local before = redis.call('HGET', '{keys.TROUBLE}', origin) or '0:0'
  local failures, till = string.match(before, '^(%d+):(.*)$')
  failures, till = tonumber(failures), tonumber(till)
  local pause = math.min(tonumber(ARGV[9]), {_LONGEST_PAUSE})
  -- What had begun before the origin was left alone says nothing new of it, though it may hang on
  -- for longer than that time.
  local after = failures < {_PATIENCE} or now - tonumber(ARGV[10]) >= till
  if till <= now and after then
    failures = failures + 1
    if failures >= {_PATIENCE} then
      pause = math.max(pause, math.min(2 ^ (failures - {_PATIENCE}), {_LONGEST_PAUSE}))
    end
  end
  till = exact(math.max(till, now + pause))
  redis.call('HSET', '{keys.TROUBLE}', origin, failures .. ':' .. till)
elseif ARGV[8] == 'well' then
  -- It had been put off until its time was up, and is well before that.
  if redis.call('HDEL', '{keys.TROUBLE}', origin) == 1 then
    local first = redis.call('ZRANGE', '{keys.due("")}' .. origin, 0, 0, 'WITHSCORES')
    if first[2] then redis.call('ZADD', '{keys.ORIGINS}', 'LT', first[2], origin) end
  end
end
return 1
"""
)

# Gives up what has waited for too long, and forgets of what is over what has expired.
# ARGV: seconds after which an event is given up, seconds to keep what is over, at most how many.
_SWEEP_ALL: Final = (
    _NOW
    + _SET_ASIDE
    + f"""
local old = redis.call(
  'ZRANGEBYSCORE', '{keys.PENDING}', '-inf', exact(now - ARGV[1]), 'LIMIT', 0, ARGV[3])
for _, id in ipairs(old) do
  local origin = redis.call('HGET', '{keys.event("")}' .. id, 'origin')
  if origin then set_aside(id, origin, 'given_up', ARGV[2])
  else redis.call('ZREM', '{keys.PENDING}', id) end
end
for _, index in ipairs({{'{keys.DELIVERED}', '{keys.DEAD_EVENTS}'}}) do
  local ids = redis.call(
    'ZRANGEBYSCORE', index, '-inf', exact(now - ARGV[2]), 'LIMIT', 0, ARGV[3])
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', '{keys.event("")}' .. id) == 0 then redis.call('ZREM', index, id) end
  end
  redis.call('ZREMRANGEBYSCORE', index, '-inf', exact(now - ARGV[1] - ARGV[2]))
end
return #old
"""
)


@dataclass(frozen=True, kw_only=True)
class Leased:
    """An event that this process is to post.

    Attributes:
        id: Its ID.
        origin: Its receiver's scheme, host and port.
        lease: What proves that it is ours.
        url: Where it is posted to.
        secret: The name of the secrets that sign it.
        body: What is posted.
        tries: How often it was posted before.
    """

    id: str
    origin: str
    lease: str
    url: str = field(repr=False)
    secret: str
    body: bytes = field(repr=False)
    tries: int


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What is noted of one attempt.

    Attributes:
        outcome: `delivered`, `again`, `given_up` or `gone`.
        attempt: What is shown of it.
        delay: Seconds until the next attempt, for `again`.
        origin: What it says of the receiver's host: `well`, `trouble`, or nothing.
        pause: Seconds for which the host asked to be left alone.
        took: Seconds that the attempt took.
    """

    outcome: str
    attempt: Mapping[str, Any]
    delay: float = 0.0
    origin: str = ""
    pause: float = 0.0
    took: float = 0.0


class DueEvents:
    """The events of one server. Safe for threads.

    Args:
        client: A redis-py client.
        lease: Seconds after which an event is another courier's: longer than any attempt.
        keep: Seconds for which an event is kept after it was delivered or given up.
    """

    def __init__(self, client: Any, *, lease: float, keep: int) -> None:
        self._lease = lease
        self._keep = keep
        self._claim = client.register_script(_CLAIM)
        self._note = client.register_script(_NOTE)
        self._sweep = client.register_script(_SWEEP_ALL)

    def claim(self, free: int, reserve: int, most: int, busy: Mapping[str, int]) -> list[Leased]:
        """Lease events that are due.

        Args:
            free: How many slots are free.
            reserve: How many of these only an origin may have that has none.
            most: How many slots one origin may have.
            busy: How many each has now.
        """
        found = self._claim(
            args=[
                *(self._lease, free, reserve, most, f"{uuid4().hex}.", self._keep),
                *(each for pair in busy.items() for each in pair),
            ]
        )
        return [
            Leased(
                id=id.decode(),
                origin=origin.decode(),
                lease=lease.decode(),
                url=url.decode(),
                secret=secret.decode(),
                body=body,
                tries=int(tries),
            )
            for id, origin, lease, url, secret, body, tries in found
        ]

    def note(self, event: Leased, noted: Noted) -> bool:
        """Note an attempt.

        Returns:
            Whether the event was still ours.
        """
        done = self._note(
            args=[
                *(event.id, event.origin, event.lease, json.dumps(noted.attempt)),
                *(noted.outcome, noted.delay, self._keep, noted.origin, noted.pause, noted.took),
            ]
        )
        return bool(done)

    def sweep(self) -> int:
        """Give up what has waited for too long.

        Returns:
            How many events there were.
        """
        return int(self._sweep(args=[outbox.GIVE_UP_SECONDS, self._keep, _SWEEP]))
