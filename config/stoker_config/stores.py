"""The artifact store that the settings name: S3 before Redis, or Redis alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from stoker_config.artifacts import BINARY, ArtifactStore
from stoker_config.artifacts_redis import RedisArtifacts
from stoker_config.artifacts_s3 import S3Artifacts
from stoker_config.settings import Settings
from stoker_tasks.errors import Gone


def open_store(settings: Settings, client: Any) -> ArtifactStore:
    """Open the store of one process.

    Args:
        settings: Which, and with which limits.
        client: A redis-py client.

    Raises:
        ValueError: S3 is named and cannot be set up.
    """
    in_redis = RedisArtifacts(
        client,
        limit=settings.artifact_limit,
        capacity=settings.artifact_capacity,
        expires=settings.artifact_expires,
    )
    return S3First(S3Artifacts(settings), in_redis) if settings.s3_bucket else in_redis


class S3First:
    """Keeps everything in S3, and still finds what Redis took before S3 was set up.

    Args:
        in_s3: Where artifacts go.
        in_redis: Where older ones may be.
    """

    def __init__(self, in_s3: S3Artifacts, in_redis: RedisArtifacts) -> None:
        self._in_s3 = in_s3
        self._in_redis = in_redis

    def check(self) -> None:
        """Make sure that the bucket is there; see `S3Artifacts.check`."""
        self._in_s3.check()

    def put(
        self,
        data: bytes,
        *,
        uri: str | None = None,
        mime_type: str = BINARY,
        expires: int | None = None,
    ) -> str:
        """Keep bytes in S3; see `Artifacts.put`."""
        return self._in_s3.put(data, uri=uri, mime_type=mime_type, expires=expires)

    def get(self, uris: Sequence[str], most: int | None = None) -> Mapping[str, bytes]:
        """Read artifacts back; see `Artifacts.get`."""
        # Redis says at once what it does not have.
        found = self._in_redis.get(uris, most)
        missing = [uri for uri in uris if uri not in found]
        if not missing:
            return found
        left = None if most is None else most - sum(map(len, found.values()))
        return {**found, **self._in_s3.get(missing, left)}

    def delete(self, uris: Sequence[str]) -> None:
        """Remove artifacts from both at once; see `ArtifactStore.delete`."""
        self._in_redis.delete(uris)
        self._in_s3.delete(uris)

    def presign(self, uri: str, seconds: int | None = None) -> str:
        """Make a URL; see `ArtifactStore.presign`."""
        try:
            return self._in_s3.presign(uri, seconds)
        except Gone:
            return self._in_redis.presign(uri, seconds)
