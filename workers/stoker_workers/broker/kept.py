"""Keeps the messages of jobs that failed for a while, so that a person can have them run again."""

import json
import logging
from collections.abc import Sequence
from typing import Any, Final

import redis

from stoker_config import keys

logger = logging.getLogger(__name__)

# All of them together, and the largest one: large inputs travel beside their message anyway.
_CAPACITY: Final = 64 * 1024 * 1024
_LARGEST: Final = 1024 * 1024

# KEYS: kept messages, their times, their size. ARGV: the most bytes, then each job's ID, message
# and seconds to keep it. It begins with what frees memory, and is not refused where there is none:
# that of all of them is bounded. What is over its time goes, then the oldest until the rest fits.
# A canceled job may be deleted before a worker comes upon its message: of that one nothing is kept.
_KEEP: Final = (
    f"local DELETED = '{keys.deleted('')}'"
    + """
local now = tonumber(redis.call('TIME')[1])
local function drop(id)
  local size = redis.call('HSTRLEN', KEYS[1], id)
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('DECRBY', KEYS[3], size)
end
for i = 2, #ARGV, 3 do
  drop(ARGV[i])
  if redis.call('EXISTS', DELETED .. ARGV[i]) == 0 then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    redis.call('ZADD', KEYS[2], now + ARGV[i + 2], ARGV[i])
    redis.call('INCRBY', KEYS[3], #ARGV[i + 1])
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)) do
  drop(id)
end
while tonumber(redis.call('GET', KEYS[3])) > tonumber(ARGV[1]) do
  drop(redis.call('ZRANGE', KEYS[2], 0, 0)[1])
end
"""
)


def keep_messages(
    client: Any, requests: Sequence[tuple[Any, int]], capacity: int = _CAPACITY
) -> None:
    """Keep the messages of requests that ended without success; a failure to do so is no fault.

    Args:
        client: A redis-py client.
        requests: Celery's requests, each with the seconds for which its message is kept.
        capacity: Bytes of all kept messages together.
    """
    texts = [(each.id, json.dumps(each.message._raw), seconds) for each, seconds in requests]
    kept = [arg for each in texts if len(each[1]) <= _LARGEST for arg in each]
    if not kept:
        return
    names = (keys.KEPT, keys.KEPT_UNTIL, keys.KEPT_BYTES)
    try:
        client.eval(_KEEP, len(names), *names, capacity, *kept)
    except redis.RedisError as error:
        logger.warning("a failed job's message is not kept: %s", type(error).__name__)
