"""The artifact store in an S3 bucket, where artifacts may be large and have URLs."""

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from stoker_config.artifacts import BINARY, SCHEME, Weight, gone, is_name, new_uri
from stoker_config.clock import DAY
from stoker_config.s3 import code_of, connect_s3, reaching
from stoker_config.settings import Settings
from stoker_config.sizes import MIB
from stoker_tasks.errors import TooLarge

Answer = TypeVar("Answer")

# Under these names an object tells until when it is wanted, in seconds since the epoch, and which
# lifecycle rule is to remove it.
EXPIRES: Final = "stoker-expires"
DAYS: Final = "stoker-days"
# A bucket has one lifecycle rule for each, so there are few.
KEEP_DAYS: Final = (1, 3, 7, 30, 90, 366)

_ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_PART: Final = 8 * MIB
# S3's own limit of one call to delete objects.
_DELETED_AT_ONCE: Final = 1000
_AT_ONCE: Final = 8


class S3Artifacts:
    """An artifact store in a bucket.

    An object that has expired is not read any more, whether a lifecycle rule has removed it yet or
    not.

    Args:
        settings: Which bucket, and how.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._client = connect_s3(settings)
        public = settings.s3_public_endpoint
        self._signer = connect_s3(settings, endpoint=public) if public else self._client
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stoker-s3")

    def check(self) -> None:
        """Make sure that the bucket is there; one that cannot be asked about is believed to be.

        Raises:
            ValueError: There is no such bucket.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            # A policy may well allow objects alone.
            if code_of(error) in {*_ABSENT, "NoSuchBucket"}:
                raise ValueError(
                    f"there is no S3 bucket {self._bucket}: make it, or correct STOKER_S3_BUCKET, "
                    "STOKER_S3_REGION or STOKER_S3_ENDPOINT"
                ) from None
        except BotoCoreError:
            # It may be back when the first job needs it.
            pass

    def put(
        self,
        data: bytes,
        *,
        uri: str | None = None,
        mime_type: str = BINARY,
        expires: int | None = None,
    ) -> str:
        """Keep bytes; see `Artifacts.put`."""
        settings = self._settings
        if len(data) > settings.s3_limit:
            raise TooLarge(
                f"{len(data)} bytes are more than the artifact store takes at once: "
                f"{settings.s3_limit} (STOKER_S3_LIMIT)",
                {"size": len(data), "limit": settings.s3_limit},
            )
        uri = uri or new_uri()
        where = {"Bucket": self._bucket, "Key": self._key(uri)}
        options = self._options(mime_type, expires or settings.artifact_expires)
        with reaching(self._bucket):
            if len(data) > settings.s3_multipart:
                from boto3.s3.transfer import TransferConfig

                config = TransferConfig(
                    multipart_threshold=settings.s3_multipart, multipart_chunksize=_PART
                )
                file = io.BytesIO(data)
                self._client.upload_fileobj(file, **where, ExtraArgs=options, Config=config)
            else:
                self._client.put_object(**where, Body=data, **options)
        return uri

    def get(self, uris: Sequence[str], most: int | None = None) -> Mapping[str, bytes]:
        """Read artifacts back, several at once; see `Artifacts.get`."""
        wanted = list(dict.fromkeys(uri for uri in uris if is_name(uri)))
        read = partial(self._get, Weight(most))
        if len(wanted) > 1:
            found = list(self._threads.map(read, wanted))
        else:
            found = [read(uri) for uri in wanted]
        return {uri: data for uri, data in zip(wanted, found, strict=True) if data is not None}

    def delete(self, uris: Sequence[str]) -> None:
        """Remove artifacts at once; see `ArtifactStore.delete`."""
        objects = [{"Key": self._key(uri)} for uri in uris if is_name(uri)]
        for start in range(0, len(objects), _DELETED_AT_ONCE):
            some = {"Objects": objects[start : start + _DELETED_AT_ONCE], "Quiet": True}
            with reaching(self._bucket):
                refused = self._client.delete_objects(Bucket=self._bucket, Delete=some)
                for each in refused.get("Errors", ())[:1]:
                    raise OSError(str(each.get("Code")))

    def presign(self, uri: str, seconds: int | None = None) -> str:
        """Make a URL; see `ArtifactStore.presign`."""
        if not is_name(uri):
            raise gone(uri)
        where = {"Bucket": self._bucket, "Key": self._key(uri)}
        head = self._unless_absent(partial(self._client.head_object, **where))
        left = _seconds_left(head) if head is not None else 0.0
        if left <= 0:
            raise gone(uri)
        seconds = min(seconds or self._settings.presign_expires, math.ceil(left))
        url = self._signer.generate_presigned_url("get_object", Params=where, ExpiresIn=seconds)
        return str(url)

    def _get(self, weight: Weight, uri: str) -> bytes | None:
        def read() -> bytes | None:
            found = self._client.get_object(Bucket=self._bucket, Key=self._key(uri))
            with found["Body"] as body:
                if _seconds_left(found) <= 0:
                    return None
                weight.add(found["ContentLength"])
                return bytes(body.read())

        return self._unless_absent(read)

    def _unless_absent(self, call: Callable[[], Answer]) -> Answer | None:
        from botocore.exceptions import ClientError

        with reaching(self._bucket):
            try:
                return call()
            except ClientError as error:
                if code_of(error) in _ABSENT:
                    return None
                raise

    def _key(self, uri: str) -> str:
        return self._settings.s3_prefix + uri.removeprefix(SCHEME)

    def _options(self, mime_type: str, expires: int) -> dict[str, Any]:
        settings = self._settings
        options: dict[str, Any] = {
            "ContentType": mime_type,
            "Metadata": {EXPIRES: str(int(time.time()) + expires)},
        }
        if settings.s3_tags:
            days = next((each for each in KEEP_DAYS if expires <= each * DAY), KEEP_DAYS[-1])
            options["Tagging"] = f"{DAYS}={days}"
        if settings.s3_sse:
            options["ServerSideEncryption"] = settings.s3_sse
        if settings.s3_kms_key:
            options["SSEKMSKeyId"] = settings.s3_kms_key
        return options


def _seconds_left(found: Mapping[str, Any]) -> float:
    """Say how long an object is wanted still; one that does not tell is none of Stoker's."""
    expires = found.get("Metadata", {}).get(EXPIRES, "")
    return float(expires) - time.time() if expires.isdigit() else 0.0
