"""The results that are stored together, and the deliveries that end with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stoker_config import keys
from stoker_tasks.event import Event, Listener

# Lua's unpack and Redis's single thread both want calls of a bounded size.
_CALL_KEYS: Final = 500
_CALL_BYTES: Final = 8 * 1024 * 1024


@dataclass(slots=True)  # not frozen, which would take twice as long to make
class Stored:
    """One result that is to be stored.

    Attributes:
        job: Its job's ID.
        key: Its key.
        value: Its text.
        expires: Seconds for which it is kept; for ever if 0.
        event: What is told of it.
        tenant: The tenant among whose jobs it counts; '' if nobody counts.
        listener: Who is told of it.
    """

    job: str
    key: Any
    value: Any = field(repr=False)
    expires: int
    event: Event | None = None
    tenant: str = ""
    listener: Listener | None = None


@dataclass(frozen=True, kw_only=True)
class Deliveries:
    """The deliveries of jobs whose results are stored together.

    Attributes:
        index: The sorted set of held deliveries.
        table: The hash of held deliveries.
        tags: Each job's tag, by the job's ID; a job of kombu's own transport has none.
        keep: Seconds for which results are kept, by the job's ID; others as long as usual.
    """

    index: str = keys.HELD
    table: str = keys.HELD_MESSAGES
    tags: Mapping[str, str] = field(default_factory=dict)
    keep: Mapping[str, int] = field(default_factory=dict)


def calls(results: list[Stored]) -> Iterator[list[Stored]]:
    """Part results into calls of a bounded size.

    Args:
        results: Those that are to be stored.
    """
    call: list[Stored] = []
    size = 0
    for result in results:
        length = len(result.value) + (len(result.event.body) if result.event else 0)
        if call and (len(call) >= _CALL_KEYS or size + length > _CALL_BYTES):
            yield call
            call, size = [], 0
        call.append(result)
        size += length
    if call:
        yield call
