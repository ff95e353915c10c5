"""For receivers of webhooks: is this request one of Stoker's, and is it fresh?

from stoker import webhooks

event = webhooks.verify(request.body, request.headers, "whsec_…")
"""

import base64
import binascii
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from stoker_tasks.signature import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    VERSION,
    key_of,
    signature,
)

Reason = Literal["missing_header", "wrong_timestamp", "too_old", "too_new", "no_match", "not_json"]

# What the standard's own libraries allow.
TOLERANCE: Final = 300.0


class VerificationError(ValueError):
    """A request is not to be believed: answer it with 400, and do nothing.

    Attributes:
        reason: `missing_header`, `wrong_timestamp`, `too_old`, `too_new`, `no_match` or `not_json`.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def verify(
    payload: bytes | str,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    tolerance: float | None = TOLERANCE,
) -> dict[str, Any]:
    """Make sure that a request comes from who knows the secret, unchanged, and just now.

    Standard Webhooks 1.0.0, the symmetric scheme `v1`. A receiver that has verified an event still
    has to remember its `webhook-id`: an event may come more than once.

    Args:
        payload: The request's body, the very bytes that came.
        headers: Its headers, in any case.
        secret: The endpoint's secret (`whsec_…`), or several while one replaces another.
        tolerance: By how many seconds the sender's clock may differ; None to take any time, which
            lets whoever overheard a request repeat it for ever.

    Returns:
        The event: `type`, `timestamp` and `data`.

    Raises:
        VerificationError: The request is not to be believed.
        ValueError: A secret is none.
    """
    keys = [key_of(each) for each in ([secret] if isinstance(secret, str) else secret)]
    if not keys:
        raise ValueError("no secret to verify with: give the endpoint's")
    body = payload.encode() if isinstance(payload, str) else bytes(payload)
    found = {name.lower(): value for name, value in headers.items()}
    for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER):
        if not found.get(name):
            raise VerificationError("missing_header", f"the header {name} is missing")
    _check_time(found[TIMESTAMP_HEADER], tolerance)
    signed = [signature(key, found[ID_HEADER], found[TIMESTAMP_HEADER], body) for key in keys]
    # Every pair is compared, in constant time each: how long it takes tells nothing.
    matches = [
        hmac.compare_digest(ours, theirs)
        for theirs in _signatures(found[SIGNATURE_HEADER])
        for ours in signed
    ]
    if not any(matches):
        raise VerificationError(
            "no_match",
            "no signature is that of a known secret: is it the endpoint's, and the body unchanged?",
        )
    try:
        event = json.loads(body)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise VerificationError("not_json", "the body is signed, but is no JSON object")
    return event


def _check_time(text: str, tolerance: float | None) -> None:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise VerificationError(
            "wrong_timestamp", f"{TIMESTAMP_HEADER} is not in seconds since the epoch"
        )
    if tolerance is None:
        return
    late = time.time() - int(text)
    if late > tolerance:
        raise VerificationError("too_old", f"it was sent more than {tolerance:g} s ago")
    if -late > tolerance:
        raise VerificationError("too_new", f"it was sent more than {tolerance:g} s from now")


def _signatures(header: str) -> list[bytes]:
    """List the signatures of our version; those of others are passed over."""
    found = []
    for each in header.split():
        version, _, text = each.partition(",")
        if version == VERSION:
            try:
                found.append(base64.b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                continue
    return found
