"""The artifact store in Redis, with expiry and a cap on the sum of all sizes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stoker_config import keys
from stoker_config.artifacts import BINARY, Weight, gone, is_name, new_uri
from stoker_tasks.errors import NoUrl, StorageUnavailable, TooLarge

# How many seconds whoever was refused for want of memory is told to wait: nobody knows how soon
# something expires or is read.
FULL_SECONDS: Final = 5
# Redis answers nobody else while it sends.
_READ_AT_ONCE: Final = 4

# Adding keeps the sum of sizes: what has expired is taken off first, at most 100 at a time, so that
# no call is long. Sizes stand in the members, since Redis has dropped the values by then.
_PUT = """
local now = tonumber(redis.call('TIME')[1])
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)
for _, member in ipairs(gone) do
  redis.call('DECRBY', KEYS[1], tonumber(string.match(member, '^(%d+)')))
  redis.call('ZREM', KEYS[2], member)
end
local size, expires = #ARGV[1], tonumber(ARGV[3])
local held = tonumber(redis.call('GET', KEYS[1]) or '0')
if held + size > tonumber(ARGV[4]) then return held end
if not redis.call('SET', KEYS[3], ARGV[1], 'EX', expires, 'NX') then return -1 end
redis.call('INCRBY', KEYS[1], size)
redis.call('ZADD', KEYS[2], now + expires, size .. ':' .. ARGV[2])
return -1
"""

# KEYS: sum of sizes, expiries, then the artifacts. ARGV: their names.
_DELETE: Final = """
for i = 3, #KEYS do
  local size = redis.call('STRLEN', KEYS[i])
  if redis.call('ZREM', KEYS[2], size .. ':' .. ARGV[i - 2]) == 1 then
    redis.call('DECRBY', KEYS[1], size)
  end
  redis.call('DEL', KEYS[i])
end
"""


class RedisArtifacts:
    """An `ArtifactStore` in Redis.

    Args:
        client: A redis-py client.
        limit: Bytes of the largest artifact.
        capacity: Bytes of all artifacts together.
        expires: Seconds for which each is kept.
    """

    def __init__(self, client: Any, *, limit: int, capacity: int, expires: int) -> None:
        self._client = client
        self._limit = limit
        self._capacity = capacity
        self._expires = expires
        self._put = client.register_script(_PUT)
        self._delete = client.register_script(_DELETE)

    def check(self) -> None:
        """Nothing can be wrong with it that would not be wrong with the queues as well."""

    def put(
        self,
        data: bytes,
        *,
        uri: str | None = None,
        mime_type: str = BINARY,
        expires: int | None = None,
    ) -> str:
        """Keep bytes; see `Artifacts.put`."""
        if len(data) > self._limit:
            raise TooLarge(
                f"{len(data)} bytes are more than the artifact store takes at once: "
                f"{self._limit} (STOKER_ARTIFACT_LIMIT)",
                {"size": len(data), "limit": self._limit},
            )
        uri = uri or new_uri()
        held = self._kept(
            keys=[keys.ARTIFACT_BYTES, keys.ARTIFACT_EXPIRY, keys.artifact(uri)],
            args=[data, uri, expires or self._expires, self._capacity],
        )
        if held >= 0:
            raise TooLarge(
                f"the artifact store is full: it holds {held} of {self._capacity} bytes "
                f"(STOKER_ARTIFACT_CAPACITY), and {len(data)} were to be added; try again when "
                f"some have expired",
                {"size": len(data), "held": held, "capacity": self._capacity},
            )
        return uri

    def _kept(self, **call: Any) -> int:
        """Run the script that adds, and say in Stoker's words that there is no memory for it."""
        import redis

        from stoker_config.servers import is_full

        try:
            return int(self._put(**call))
        except redis.ResponseError as error:
            if not is_full(error):
                raise
            raise StorageUnavailable(
                "Redis has no memory left (maxmemory) and keeps no artifacts: try again in "
                f"{FULL_SECONDS} s; if it lasts, have artifacts kept in S3 (STOKER_S3_BUCKET), "
                "delete results, or give the server more memory",
                {"retry_after": FULL_SECONDS},
            ) from None

    def get(self, uris: Sequence[str], most: int | None = None) -> Mapping[str, bytes]:
        """Read artifacts back, some at a time; see `Artifacts.get`."""
        uris = list(dict.fromkeys(uri for uri in uris if is_name(uri)))
        found: dict[str, bytes] = {}
        weight = Weight(most)
        for at in range(0, len(uris), _READ_AT_ONCE):
            some = uris[at : at + _READ_AT_ONCE]
            read = self._client.mget([keys.artifact(uri) for uri in some])
            found |= {uri: data for uri, data in zip(some, read, strict=True) if data is not None}
            weight.add(sum(len(data) for data in read if data is not None))
        return found

    def delete(self, uris: Sequence[str]) -> None:
        """Remove artifacts at once; see `ArtifactStore.delete`."""
        uris = [uri for uri in uris if is_name(uri)]
        if uris:
            artifacts = [keys.artifact(uri) for uri in uris]
            self._delete(keys=[keys.ARTIFACT_BYTES, keys.ARTIFACT_EXPIRY, *artifacts], args=[*uris])

    def presign(self, uri: str, seconds: int | None = None) -> str:
        """Say that there is no URL; see `ArtifactStore.presign`."""
        if not is_name(uri) or not self._client.exists(keys.artifact(uri)):
            raise gone(uri)
        raise NoUrl(
            "this artifact is kept in Redis, where no URL leads to: read its bytes with "
            "Client.artifact, or have artifacts kept in S3 (STOKER_S3_BUCKET)",
            {"uri": uri[:80]},
        )
