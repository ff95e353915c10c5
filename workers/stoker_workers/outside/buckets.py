"""Reads objects of those S3 buckets that the operator has opened to callers."""

import threading
from collections.abc import Sequence
from typing import Any, Final

from stoker_config.s3 import code_of, connect_s3, reaching
from stoker_config.settings import Settings
from stoker_tasks.errors import InputFetchFailed, StorageUnavailable
from stoker_workers.outside.files import S3, Room

_PIECE: Final = 1 << 20
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchBucket", "404"})
_CLOSED: Final = frozenset({"AccessDenied", "AllAccessDisabled", "InvalidObjectState", "403"})


class S3Buckets:
    """Reads objects with the worker's own credentials, hence of named buckets only.

    Args:
        settings: Where S3 is.
        allowed: The buckets.
    """

    def __init__(self, settings: Settings, allowed: Sequence[str]) -> None:
        self._settings = settings
        self._allowed = frozenset(allowed)
        self._lock = threading.Lock()
        self._connected: Any = None

    def read(self, url: str, room: Room) -> bytes:
        """Read the object that `s3://BUCKET/KEY` names.

        Raises:
            InputFetchFailed: The bucket is not open to callers, or has no such object.
            TooLarge: There is no room for it.
            StorageUnavailable: S3 does not answer, or not as it should.
        """
        bucket, _, key = url.removeprefix(S3).partition("/")
        if bucket not in self._allowed:
            raise InputFetchFailed(
                f"the bucket {bucket} is not open to jobs: have the operator name it in "
                "STOKER_INPUT_BUCKETS, or give a presigned https URL",
                {"bucket": bucket},
            )
        from botocore.exceptions import ClientError

        with reaching(bucket):
            try:
                found = self._client.get_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if (code := code_of(error)) in _MISSING | _CLOSED:
                    raise _not_there(bucket, code) from None
                raise
            body = found["Body"]
            try:
                return room.gather(body.iter_chunks(_PIECE), found["ContentLength"])
            finally:
                body.close()

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._connected is None:
                try:
                    self._connected = connect_s3(self._settings)
                except ValueError as error:
                    raise StorageUnavailable(str(error)) from None
            return self._connected


def _not_there(bucket: str, code: str) -> InputFetchFailed:
    return InputFetchFailed(
        f"the bucket {bucket} does not give the object ({code}): look at its key, and at what the "
        "worker's credentials may read",
        {"bucket": bucket, "code": code},
    )
