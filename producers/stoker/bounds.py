"""Puts jobs on their queues in one step, unless a bound has no room for them or a key is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stoker_config import keys
from stoker_config.keys import PRIORITY_STEPS
from stoker_config.once import TAKE
from stoker_tasks.errors import QueueFull
from stoker_tasks.wire import pool_name

if TYPE_CHECKING:
    from stoker_config.settings import Settings

# How many seconds a refused producer is told to wait: while no rate is known, and at most.
_RETRY: Final = 5
_RETRY_MOST: Final = 60
# How many seconds at least lie between two looks at how fast places become free.
_LOOKS: Final = 5
# What the lists of a queue add to its name, one for each priority, as Lua spells it.
_LISTS: Final = ", ".join(
    "'" + keys.queue("", step, PRIORITY_STEPS).replace("\x06\x16", "\\006\\022") + "'"
    for step in PRIORITY_STEPS
)

# Puts jobs on their queues, unless the key of one is known: then its first job stands for it. If a
# key is known for another request, or a bound has no room for all the others, nothing is sent.
#
# A pool's waiting jobs are the messages on its lists; a tenant's jobs are in a set of their own,
# from which each is taken where it is taken off the queued ones. Should one have been forgotten
# there, as by a worker of an older version, a set without room loses those that are queued no more.
#
# How fast places become free is measured here, at no cost to workers: of all jobs that were sent,
# those that wait no more have left, and two looks some seconds apart make a rate.
#
# KEYS: jobs, wishes, then for each job its list and its key, or its list again.
# ARGV: the time, seconds to keep a key, the most jobs of a pool and of a tenant ('' for any),
# then for each job its ID, its place, its wish ('' for none), its message, its fingerprint ('' for
# no key), its queue, and its tenant ('' if not counted).
# Gives 1 and the jobs' IDs, or 0 and the number of the first job that is refused for its key, or 2
# and what has no room: its kind, its name, the limit, what waits, what was asked for, and after how
# many seconds to try again.
SUBMIT: Final = (
    TAKE
    + f"""
local TENANT, PACE = '{keys.tenant("")}', '{keys.pace("")}'
local LISTS = {{{_LISTS}}}
local RETRY, RETRY_MOST, LOOKS = {_RETRY}, {_RETRY_MOST}, {_LOOKS}
"""
    + """
local ids, known, fresh = {1}, {}, {}
local function of(i, field) return ARGV[(i - 1) * 7 + 4 + field] end
for i = 1, (#KEYS - 2) / 2 do
  local id, print = of(i, 1), of(i, 5)
  local key = KEYS[2 * i + 2]
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

local bounds, order = {}, {}
local function ask(kind, name, limit)
  if limit == '' or name == '' then return end
  local at = kind .. ':' .. name
  if not bounds[at] then
    bounds[at] = {kind = kind, name = name, limit = tonumber(limit), jobs = 0}
    bounds[at].pace = PACE .. at
    order[#order + 1] = bounds[at]
  end
  bounds[at].jobs = bounds[at].jobs + 1
end
for i = 1, #fresh do
  if fresh[i] then
    ask('pool', of(i, 6), ARGV[3])
    ask('tenant', of(i, 7), ARGV[4])
  end
end

local function waiting(bound)
  if bound.kind == 'tenant' then
    local set = TENANT .. bound.name
    local count = redis.call('SCARD', set)
    if count + bound.jobs > bound.limit and count > 0 then
      local some, ended = redis.call('SRANDMEMBER', set, 100), {}
      for i, queued in ipairs(redis.call('HMGET', KEYS[1], unpack(some))) do
        if not queued then ended[#ended + 1] = some[i] end
      end
      if #ended > 0 then count = count - redis.call('SREM', set, unpack(ended)) end
    end
    return count
  end
  local count = 0
  for _, list in ipairs(LISTS) do count = count + redis.call('LLEN', bound.name .. list) end
  return count
end

local now = tonumber(ARGV[1])
local function measure(bound)
  local seen = redis.call('HMGET', bound.pace, 'sent', 'left', 'since', 'rate')
  bound.sent = tonumber(seen[1]) or bound.waiting
  bound.left, bound.since = tonumber(seen[2]), tonumber(seen[3])
  bound.rate = tonumber(seen[4])
  local left = bound.sent - bound.waiting
  if not bound.since then bound.left, bound.since = left, now
  elseif now - bound.since >= LOOKS then
    bound.rate = (left - bound.left) / (now - bound.since)
    bound.left, bound.since = left, now
  end
end
local function note(bound)
  redis.call('HSET', bound.pace, 'sent', bound.sent, 'left', bound.left,
    'since', string.format('%.3f', bound.since), 'rate', bound.rate or '')
  redis.call('EXPIRE', bound.pace, 60)
end
for _, bound in ipairs(order) do
  bound.waiting = waiting(bound)
  measure(bound)
  local over = bound.waiting + bound.jobs - bound.limit
  if over > 0 then
    local after = RETRY
    if bound.rate and bound.rate > 0 then
      after = math.max(1, math.min(RETRY_MOST, math.ceil(over / bound.rate)))
    end
    note(bound)
    return {2, bound.kind, bound.name, bound.limit, bound.waiting, bound.jobs, after}
  end
end
for _, bound in ipairs(order) do
  bound.sent = bound.sent + bound.jobs
  note(bound)
end

for i = 1, #fresh do
  if fresh[i] then
    local id = of(i, 1)
    if of(i, 5) ~= '' then
      take_key(KEYS[2 * i + 2], of(i, 5) .. ' ' .. id, id, ARGV[2])
    end
    redis.call('HSET', KEYS[1], id, of(i, 2))
    if of(i, 3) ~= '' then redis.call('HSET', KEYS[2], id, of(i, 3)) end
    if of(i, 7) ~= '' then redis.call('SADD', TENANT .. of(i, 7), id) end
    redis.call('LPUSH', KEYS[2 * i + 1], of(i, 4))
  end
end
return ids
"""
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs may wait.

    Attributes:
        pool: The most of one pool; any number if None.
        tenant: The most of one tenant, in all pools; any number if None.
    """

    pool: int | None = None
    tenant: int | None = None

    @classmethod
    def of(cls, settings: "Settings") -> "Bounds":
        """Give those that the settings say."""
        return cls(settings.queue_limit, settings.tenant_limit)


def queue_full(found: Sequence[Any], taken: Sequence[str]) -> QueueFull:
    """Make the error that says which bound has no room.

    Args:
        found: What `SUBMIT` gave, after its 2.
        taken: The IDs of the jobs that earlier transactions of the same call have sent.
    """
    kind, name = found[0].decode(), found[1].decode()
    limit, waiting, jobs, seconds = map(int, found[2:])
    who, setting = "this pool's queue", "STOKER_QUEUE_LIMIT"
    whose = {"pool": pool_name(name)}
    if kind == "tenant":
        who, setting = "this tenant", "STOKER_TENANT_LIMIT"
        whose = {"tenant": name}
    details = {**whose, "limit": limit, "waiting": waiting, "jobs": jobs, "taken": list(taken)}
    if jobs > limit:
        return QueueFull(
            f"{jobs} jobs were submitted together, and {who} may have {limit} ({setting}): submit "
            f"at most {limit} at once",
            {**details, "retryable": False},
        )
    return QueueFull(
        f"{who} has {waiting} jobs and may have {limit} ({setting}): submit {jobs} more in "
        f"{seconds} s, or fewer",
        {**details, "retry_after": seconds},
    )
