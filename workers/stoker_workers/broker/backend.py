"""Celery's Redis result backend, with all results of a batch stored in one round trip."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery.backends.redis import RedisBackend

from stoker_config import keys

# Stores each result unless a final one stands there: a late worker replaces nothing, and repeating
# the call does nothing. SET NX spares the reading in the usual case that there is none yet.
_STORE: Final = """
for i = 4, #KEYS do
  local value, expires = ARGV[2 * i - 7], tonumber(ARGV[2 * i - 6])
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
  if put then redis.call('PUBLISH', KEYS[i], value) end
end
local ids = {}
for i = 4, #KEYS do ids[#ids + 1] = string.match(KEYS[i], '^celery%-task%-meta%-(.*)$') end
redis.call('ZREM', KEYS[1], unpack(ids))
redis.call('ZREM', KEYS[2], unpack(ids))
redis.call('HDEL', KEYS[3], unpack(ids))
"""
# Lua's unpack and Redis's single thread both want calls of a bounded size.
_CALL_KEYS: Final = 500
_CALL_BYTES: Final = 8 * 1024 * 1024


class CollectingBackend(RedisBackend):
    """A Redis backend whose writes of one thread can be collected and sent together.

    What it stores is what Celery's own backend stores, so any client of Celery reads it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._collected = threading.local()
        super().__init__(*args, **kwargs)
        self._store: Any = None

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Hold this thread's results back, and store them all when the context ends.

        If the context ends with an exception, nothing is stored.
        """
        results: list[tuple[Any, Any, int]] = []
        self._collected.results = results
        try:
            yield
        finally:
            self._collected.results = None
        for call in _calls(results):
            # Storing is fenced, so it may be repeated until the server is back.
            self.ensure(self._store_all, (call,), max_retries=None)

    def get(self, key: Any) -> Any:
        """Read a key; while results are collected, say that there is none: storing is fenced."""
        if self._collecting() is not None and _is_result(key):
            return None
        return super().get(key)

    def set(self, key: Any, value: Any, expires: Any = None, **retry_policy: Any) -> Any:
        """Store a key, or hold it back while results are collected."""
        results = self._collecting()
        if results is None or not _is_result(key) or len(value) > self._MAX_STR_VALUE_SIZE:
            return super().set(key, value, expires=expires, **retry_policy)
        results.append((key, value, int(self.expires if expires is None else expires) or 0))
        return None

    def _collecting(self) -> list[tuple[Any, Any, int]] | None:
        return getattr(self._collected, "results", None)

    def _store_all(self, results: list[tuple[Any, Any, int]]) -> None:
        if self._store is None:
            self._store = self.client.register_script(_STORE)
        self._store(
            keys=[keys.QUEUED, keys.RUNNING, keys.PLACED, *(key for key, _, _ in results)],
            args=[arg for _, value, expires in results for arg in (value, expires)],
        )


def _is_result(key: Any) -> bool:
    prefix = keys.result("")
    return bool(key.startswith(prefix if isinstance(key, str) else prefix.encode()))


def _calls(results: list[tuple[Any, Any, int]]) -> Iterator[list[tuple[Any, Any, int]]]:
    call: list[tuple[Any, Any, int]] = []
    size = 0
    for result in results:
        if call and (len(call) >= _CALL_KEYS or size + len(result[1]) > _CALL_BYTES):
            yield call
            call, size = [], 0
        call.append(result)
        size += len(result[1])
    if call:
        yield call
