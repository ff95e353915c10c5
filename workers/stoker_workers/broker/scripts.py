"""The Lua scripts that move messages: each a single, atomic step on kombu's own keys.

`unacked` (a hash) and `unacked_index` (a sorted set) are laid out as kombu lays them out, so stock
workers can share a queue with Stoker's and give back what either of them left behind.
"""

from typing import Final

from stoker_config.lapsed import DIED

# How many messages a list has at least that is taken from one by one.
LONG: Final = 20_000

# Takes up to ARGV[1] messages and registers each under a tag of this claim's own, so that no crash
# falls between taking and registering, and nobody else's acknowledgement meets this delivery.
# KEYS: index, hash, then one list for each priority and queue, first served first.
# ARGV: how many, the tags' prefix, each list's share, and for each list its queue's name as JSON.
# The shares of all lists come to ARGV[1] at most. Each list that is not empty is left its share by
# those before it. So none starves, unless a share is nothing: then the order must change.
# Redis 6 (which tells scripts no version) seeks the last of a list from its head, unless it is
# popped alone: with a million messages that is 6 ms, and 200 pops are 0.1 ms.
CLAIM: Final = (
    f"local LONG = {LONG}\n"
    + """
local left, prefix, share = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local length, busy = {}, 0
for i = 3, #KEYS do
  length[i] = redis.call('LLEN', KEYS[i])
  if length[i] > 0 then busy = busy + 1 end
end
if busy == 0 then return {} end
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
local out, index, hash, n = {}, {}, {}, 0
for i = 3, #KEYS do
  if length[i] > 0 and left > 0 then
    busy = busy - 1
    local take = math.min(length[i], left - share * busy)
    local items = {}
    if redis.REDIS_VERSION_NUM or length[i] < LONG then items = redis.call('RPOP', KEYS[i], take)
    else for j = 1, take do items[j] = redis.call('RPOP', KEYS[i]) end end
    left = left - take
    local tail = ', "", ' .. ARGV[i + 1] .. ']'
    for j = 1, take do
      n = n + 1
      local tag = prefix .. n
      index[#index + 1] = now; index[#index + 1] = tag
      hash[#hash + 1] = tag; hash[#hash + 1] = '[' .. items[j] .. tail
      out[#out + 1] = i - 3; out[#out + 1] = items[j]
    end
  end
end
redis.call('ZADD', KEYS[1], unpack(index))
redis.call('HSET', KEYS[2], unpack(hash))
return out
"""
)

# Says that deliveries are still held, by the server's clock; one that is gone is not brought back.
# It begins with a write that takes no memory, here of nothing. So it is not refused while Redis has
# none left: a script is stopped at its first write only, lest it ends half way (documented by Redis
# under "Scripting with Lua").
# KEYS: index. ARGV: tags.
BEAT: Final = """
redis.call('ZREM', KEYS[1], '')
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
local args = {}
for _, tag in ipairs(ARGV) do args[#args + 1] = now; args[#args + 1] = tag end
return redis.call('ZADD', KEYS[1], 'XX', unpack(args))
"""

# Puts messages back at the head of their lists, if their tags are still held. It is not refused
# while Redis has no memory left: see `BEAT`.
# KEYS: index, hash, then the lists. ARGV: for each message its tag, its list's number, its text, or
# '' for the text as it was claimed, and its job's ID if its holder is dead, else ''. The last one
# given is served first.
RESTORE: Final = (
    DIED
    + """
local done = 0
for i = 1, #ARGV, 4 do
  local tag, text = ARGV[i], ARGV[i + 2]
  local held = redis.call('HGET', KEYS[2], tag)
  redis.call('ZREM', KEYS[1], tag)
  if held then
    redis.call('HDEL', KEYS[2], tag)
    if text == '' then text = string.match(held, '^%[(.*), "", "[^"]*"%]$') end
    redis.call('RPUSH', KEYS[tonumber(ARGV[i + 1]) + 2], text)
    if ARGV[i + 3] ~= '' then holder_died(ARGV[i + 3]) end
    done = done + 1
  end
end
return done
"""
)

# Lists the tags of deliveries whose holder is silent. A delivery of Stoker's has a dot in its tag
# and is renewed, so it lapses after the lease; a stock worker renews nothing, and its deliveries
# lapse only after kombu's own visibility timeout, which is the longer one.
# KEYS: index, hash. ARGV: seconds of a lease, seconds of a stock delivery, at most how many.
LAPSED: Final = """
local now = tonumber(redis.call('TIME')[1])
local before, stock, most = now - ARGV[1], now - ARGV[2], tonumber(ARGV[3])
local out, empty, at, page = {}, {}, 0, 1000
while at < 20000 and #out < most do
  local found = redis.call(
    'ZRANGEBYSCORE', KEYS[1], '-inf', before, 'WITHSCORES', 'LIMIT', at, page)
  for i = 1, #found, 2 do
    local tag = found[i]
    local ours = string.find(tag, '.', 1, true)
    if #out < most and (ours or tonumber(found[i + 1]) < stock) then
      local held = redis.call('HEXISTS', KEYS[2], tag) == 1
      if held then out[#out + 1] = tag else empty[#empty + 1] = tag end
    end
  end
  if #found < 2 * page then break end
  at = at + page
end
for _, tag in ipairs(empty) do redis.call('ZREM', KEYS[1], tag) end
return out
"""
