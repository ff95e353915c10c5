"""Connections to S3, or to any server that speaks its API; boto3 is imported when one is made.

Credentials are found by boto3 alone: its environment variables, profile files, or the role of the
machine. They are none of Stoker's settings, so nothing of Stoker's can show them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from stoker_config.settings import Settings
from stoker_tasks.errors import StorageUnavailable

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30
_ATTEMPTS: Final = 4
# Where neither the settings nor boto3's own name one: other servers than AWS do not ask for it.
_REGION: Final = "us-east-1"


def connect_s3(settings: Settings, *, endpoint: str | None = None) -> Any:
    """Make a client of the settings' S3 server.

    Args:
        settings: Endpoint, region and address style.
        endpoint: Another endpoint than the settings' one.

    Returns:
        A boto3 client, safe for threads. Nothing is sent until it is used; each call is repeated
        with growing pauses, and ends in time.

    Raises:
        ValueError: boto3 is not installed, or does not take the settings.
    """
    try:
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise ValueError(
            "S3 needs a part that is not installed: pip install 'stoker[s3]'"
        ) from None
    config = Config(
        signature_version="s3v4",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        s3={"addressing_style": "path" if settings.s3_path_style else "auto"},
        # Other servers than AWS know no newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=32,
    )
    try:
        # The session that boto3 shares by itself is not safe for threads.
        session = Session()
        return session.client(
            "s3",
            endpoint_url=endpoint or settings.s3_endpoint or None,
            region_name=settings.s3_region or session.region_name or _REGION,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise ValueError(f"S3 cannot be set up: {error}") from None


@contextmanager
def reaching(bucket: str) -> Iterator[None]:
    """Turn whatever goes wrong between here and a bucket into one error.

    Args:
        bucket: Its name, for the message.

    Raises:
        StorageUnavailable: A call of boto3 failed within the context.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = code_of(error)
        raise StorageUnavailable(
            f"S3 refused a request for the bucket {bucket}: {code}; look at the bucket, the "
            "credentials and STOKER_S3_ENDPOINT",
            {"bucket": bucket, "code": code},
        ) from None
    except (BotoCoreError, Boto3Error, OSError) as error:
        raise StorageUnavailable(
            f"S3 could not be reached for the bucket {bucket} ({type(error).__name__}); try again, "
            "and look at STOKER_S3_ENDPOINT and the credentials if it lasts",
            {"bucket": bucket, "code": type(error).__name__},
        ) from None


def code_of(error: Any) -> str:
    """Give the name under which S3 refused a request, such as `NoSuchKey`."""
    return str(error.response.get("Error", {}).get("Code", ""))
