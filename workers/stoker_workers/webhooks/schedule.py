"""When an event that was not taken is posted again: the schedule of Standard Webhooks' example."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# Seconds before each attempt, counted from the end of the one before.
# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
DELAYS: Final = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
# A receiver that names a later time than this is not believed.
_LONGEST: Final = 86_400.0
# By how much a delay is lengthened at most, so that what failed together does not return together.
_JITTER: Final = 0.1


def next_delay(
    failed: int, retry_after: float | None = None, draw: Callable[[], float] = random.random
) -> float | None:
    """Give the seconds until the next attempt; None after the last one.

    Args:
        failed: How many attempts have failed.
        retry_after: How many seconds the receiver asked for.
        draw: Draws a number from 0 to 1.
    """
    if failed >= len(DELAYS):
        return None
    asked = min(retry_after or 0.0, _LONGEST)
    return max(DELAYS[failed], asked) * (1 + _JITTER * draw())


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Read a header `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.

    Args:
        header: Its value.
        now: The time from which a date is counted; the present if None.

    Returns:
        Seconds, 0 at least; None if it is absent or cannot be read.
    """
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
