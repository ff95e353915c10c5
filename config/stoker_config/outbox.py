"""The outbox of webhooks: events are put into it by the script that ends or starts their job.

Whoever runs such a script begins it with `EMIT`, a Lua function, and hands it what `fields` gives.
"""

from collections.abc import Iterable
from typing import Final

from stoker_config import keys
from stoker_config.clock import DAY
from stoker_tasks.event import Event

# An event that nobody could deliver for so long is given up: the schedule's last attempt comes 76
# hours after its first, and a receiver that keeps failing is left alone in between.
GIVE_UP_SECONDS: Final = 4 * DAY
# Nothing stays for ever, even where no courier ever runs.
KEEP_SECONDS: Final = GIVE_UP_SECONDS + 3 * DAY

# A courier that has not looked for events for so long is dead.
ALIVE_SECONDS: Final = 30

FIELDS: Final = 7

# emit(from): puts the event in ARGV[from], … into the outbox, unless it was put there before; then
# an earlier delivery of its job has told it. Gives 1 if it is new.
EMIT: Final = f"""
local function emit(from)
  local id, origin = ARGV[from], ARGV[from + 1]
  local key = '{keys.event("")}' .. id
  if redis.call('EXISTS', key) == 1 then return 0 end
  local time = redis.call('TIME')
  local now = time[1] .. '.' .. string.format('%06d', time[2])
  redis.call('HSET', key, 'origin', origin, 'job', ARGV[from + 2], 'type', ARGV[from + 3],
    'url', ARGV[from + 4], 'secret', ARGV[from + 5], 'body', ARGV[from + 6],
    'state', 'pending', 'tries', 0, 'created', now)
  redis.call('EXPIRE', key, {KEEP_SECONDS})
  redis.call('ZADD', '{keys.PENDING}', now, id)
  redis.call('ZADD', '{keys.due("")}' .. origin, now, id)
  redis.call('ZADD', '{keys.ORIGINS}', 'LT', now, origin)
  return 1
end
local function wake() redis.call('PUBLISH', '{keys.WAKE}', '') end
"""

# Puts events into the outbox, but for those of jobs of which a key exists.
# KEYS: for each event the key. ARGV: the events.
TELL: Final = (
    EMIT
    + f"""
local new = 0
for i, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 0 then new = new + emit((i - 1) * {FIELDS} + 1) end
end
if new > 0 then wake() end
return new
"""
)


def fields(event: Event) -> tuple[str, ...]:
    """Give the arguments of the Lua function `emit`, `FIELDS` of them."""
    return (
        event.id,
        event.origin,
        event.job,
        event.type,
        event.url,
        event.secret,
        event.body,
    )


def flat(events: Iterable[Event]) -> list[str]:
    """Give the arguments of several events, one after the other."""
    return [each for event in events for each in fields(event)]
