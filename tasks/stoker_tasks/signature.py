"""How an event is signed: the symmetric scheme `v1` of Standard Webhooks 1.0.0.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
VERSION: Final = "v1"
PREFIX: Final = "whsec_"

# Bytes of a secret, by the standard.
_LEAST: Final = 24
_MOST: Final = 64
_NEW: Final = 32


def new_secret() -> str:
    """Mint a secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_NEW)).decode("ascii")


def key_of(secret: str) -> bytes:
    """Decode a secret.

    Raises:
        ValueError: It is not `whsec_` and the base64 of 24 to 64 bytes. The message does not
            quote it.
    """
    try:
        if not secret.startswith(PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        if not _LEAST <= len(key) <= _MOST:
            raise ValueError
    except (ValueError, binascii.Error):
        raise ValueError(
            f"a webhook's secret is {PREFIX} followed by the base64 of {_LEAST} to {_MOST} bytes; "
            "`stoker webhooks secret add NAME` makes one"
        ) from None
    return key


def signature(key: bytes, event_id: str, timestamp: str, body: bytes) -> bytes:
    """Sign one attempt.

    Args:
        key: A decoded secret.
        event_id: The event's ID.
        timestamp: Seconds since the epoch, as the header has them.
        body: The very bytes that are sent.
    """
    signed = b".".join((event_id.encode(), timestamp.encode(), body))
    return hmac.digest(key, signed, "sha256")


def headers(keys: Sequence[bytes], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Give the three headers of one attempt, with a signature for each key.

    Args:
        keys: Decoded secrets; while one replaces another, both sign.
        event_id: The event's ID.
        timestamp: Seconds since the epoch.
        body: The very bytes that are sent.
    """
    signed = (signature(key, event_id, str(timestamp), body) for key in keys)
    return {
        ID_HEADER: event_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: " ".join(
            f"{VERSION},{base64.b64encode(each).decode('ascii')}" for each in signed
        ),
    }
