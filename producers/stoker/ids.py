"""The IDs of jobs: UUIDs of version 7, by which one that is forgotten is told from one never given.

A UUID of version 7 (RFC 9562) begins with the time at which it was made; the last 16 of its random
bits are a check sum here. So a client knows an ID that some client has given, for ever, although
Redis keeps nothing of the job any more. The IDs of stock Celery producers are of version 4.
"""

import secrets
import time
import zlib
from typing import Final
from uuid import UUID

_VERSION: Final = 7
_SUM_BITS: Final = 16


def new_id() -> str:
    """Give the ID of a new job."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(58)
    head = milliseconds << 16 | _VERSION << 12 | random >> 46
    tail = (0b10 << 46 | random & ~(~0 << 46)) << _SUM_BITS
    digits = f"{head << 64 | tail | _sum(head, tail):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def was_given(job_id: str) -> bool:
    """Tell whether an ID was once given to a job by a client of Stoker's."""
    try:
        number = UUID(job_id).int
    except ValueError:
        return False
    head, tail = number >> 64, number & ~(~0 << 64)
    mask = (1 << _SUM_BITS) - 1
    return head >> 12 & 0xF == _VERSION and tail & mask == _sum(head, tail & ~mask)


def _sum(head: int, tail: int) -> int:
    return zlib.crc32((head << 64 | tail).to_bytes(16, "big")) & ((1 << _SUM_BITS) - 1)
