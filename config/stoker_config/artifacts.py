"""Where payloads go that are too large for a message, and binary outputs: an expiring store."""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import uuid4

from stoker_config import keys
from stoker_tasks.errors import Gone, InputFetchFailed, NoUrl, StorageUnavailable, TooLarge

SCHEME: Final = "artifact:"
BINARY: Final = "application/octet-stream"
# How many seconds whoever was refused for want of memory is told to wait: nobody knows how soon
# something expires or is read.
FULL_SECONDS: Final = 5
_NAME: Final = re.compile(re.escape(SCHEME) + r"[0-9a-f]{32}")
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


def new_uri() -> str:
    """Mint the name of an artifact that is yet to be stored."""
    return SCHEME + uuid4().hex


def is_name(uri: str) -> bool:
    """Say whether this can be an artifact's name: a caller may write anything as one."""
    return _NAME.fullmatch(uri) is not None


class Weight:
    """What artifacts weigh that are read for one job. Safe for threads.

    Args:
        most: Bytes of all of them together; any number if None.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._bytes = 0

    def add(self, size: int) -> None:
        """Put another one on the scales, before it is read if that can be.

        Raises:
            TooLarge: They are too many bytes now.
        """
        with self._lock:
            self._bytes += size
            if self._most is not None and self._bytes > self._most:
                raise TooLarge(
                    f"the artifacts that the job names are more than {self._most} bytes together "
                    "(for files STOKER_FETCH_LIMIT says how many): send smaller ones, or fewer in "
                    "one job",
                    {"limit": self._most},
                )


class Artifacts(Protocol):
    """What whoever runs jobs does with artifacts, whatever keeps the bytes."""

    def put(
        self,
        data: bytes,
        *,
        uri: str | None = None,
        mime_type: str = BINARY,
        expires: int | None = None,
    ) -> str:
        """Keep bytes for a time.

        Args:
            data: The bytes.
            uri: A name from `new_uri`; a new one if absent. Storing a name again does nothing.
            mime_type: What they are, for those who read them by a URL.
            expires: Seconds; as long as the settings say if None.

        Returns:
            The name.

        Raises:
            TooLarge: The bytes are more than the store takes at once, or has room for.
            StorageUnavailable: The store does not answer, or refuses, or Redis has no memory left.
        """

    def get(self, uris: Sequence[str], most: int | None = None) -> Mapping[str, bytes]:
        """Read artifacts back; those that have expired or never were are absent.

        Args:
            uris: Their names.
            most: Bytes of all of them together; any number if None.

        Raises:
            TooLarge: They are more than that.
            StorageUnavailable: As for `Artifacts.put`.
        """


class ArtifactStore(Artifacts, Protocol):
    """What an artifact store does besides, for operators and for those who submit jobs."""

    def check(self) -> None:
        """Make sure that it can be used at all.

        Raises:
            ValueError: It is set up wrong, and no waiting will mend it.
        """

    def delete(self, uris: Sequence[str]) -> None:
        """Remove artifacts at once; those that are not there are no error.

        Raises:
            StorageUnavailable: As for `Artifacts.put`.
        """

    def presign(self, uri: str, seconds: int | None = None) -> str:
        """Make a URL under which anybody can read an artifact for a time.

        Args:
            uri: Its name.
            seconds: How long the URL is good, or until the artifact expires; as the settings say
                if None.

        Raises:
            Gone: The artifact has expired, or never was.
            NoUrl: It is kept where no URL leads to.
            StorageUnavailable: As for `Artifacts.put`.
        """


class RedisArtifacts:
    """An artifact store in Redis, with expiry and a cap on the sum of all sizes.

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


def fetch(store: Artifacts, uris: Sequence[str], most: int | None = None) -> Mapping[str, bytes]:
    """Read artifacts that must be there.

    Args:
        store: Where they are.
        uris: Their names.
        most: Bytes of all of them together; any number if None.

    Raises:
        InputFetchFailed: One has expired, or no artifact has its name.
        TooLarge: They are more than `most`.
        StorageUnavailable: The store does not answer.
    """
    found = store.get(uris, most)
    missing = [uri for uri in uris if uri not in found]
    if missing:
        raise InputFetchFailed(
            "an artifact of this job is not in the store: it has expired, or was never stored "
            "there; submit the job again with its bytes",
            {"uri": missing[0][:80], "missing": len(missing), "at": int(time.time())},
        )
    return found


def gone(uri: str) -> Gone:
    """Say that an artifact is not there."""
    return Gone("no artifact has this name: it has expired, or was deleted", {"uri": uri[:80]})
