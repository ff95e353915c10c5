"""The events that are due: each is leased before it is posted, and marked by what came of it.

Events wait in two sorted sets for each origin, those that were never posted and those that are
posted again: so those for a receiver that is dead or slow stand in nobody's way, and what was
refused before in that of no fresh event. All times are the server's. A lease that lapses makes its
event due again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from stoker_config import outbox
from stoker_workers.webhooks.scripts import CLAIM, NOTE, SWEEP
from stoker_workers.webhooks.slots import Busy

# How many events one sweep gives up at most.
_SWEEP: Final = 500


@dataclass(frozen=True, kw_only=True)
class Leased:
    """An event that this process is to post.

    Attributes:
        id: Its ID.
        origin: Its receiver's scheme, host and port.
        lease: What proves that it is ours.
        url: Where it is posted to.
        secret: The name of the secrets that sign it.
        body: What is posted.
        tries: How often it was posted before.
    """

    id: str
    origin: str
    lease: str
    url: str = field(repr=False)
    secret: str
    body: bytes = field(repr=False)
    tries: int


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What is noted of one attempt.

    Attributes:
        outcome: `delivered`, `again`, `given_up` or `gone`.
        attempt: What is shown of it.
        delay: Seconds until the next attempt, for `again`.
        origin: What it says of the receiver's host: `well`, `trouble`, or nothing.
        pause: Seconds for which the host asked to be left alone.
        took: Seconds that the attempt took.
    """

    outcome: str
    attempt: Mapping[str, Any]
    delay: float = 0.0
    origin: str = ""
    pause: float = 0.0
    took: float = 0.0


class DueEvents:
    """The events of one server.

    Args:
        client: A client of redis.asyncio.
        lease: Seconds after which an event is another courier's: longer than any attempt.
        keep: Seconds for which an event is kept after it was delivered or given up.
    """

    def __init__(self, client: Any, *, lease: float, keep: int) -> None:
        self._lease = lease
        self._keep = keep
        self._claim = client.register_script(CLAIM)
        self._note = client.register_script(NOTE)
        self._sweep = client.register_script(SWEEP)

    async def claim(
        self, free: int, reserve: int, most: int, busy: Iterable[Busy] = ()
    ) -> list[Leased]:
        """Lease events that are due.

        Args:
            free: How many at most.
            reserve: How many of these only an origin may have that has no post under way.
            most: How many slots one origin has.
            busy: What each has under way.
        """
        found = await self._claim(
            args=[
                *(self._lease, free, reserve, most, f"{uuid4().hex}.", self._keep),
                *(part for each in busy for part in (each.origin, each.posts, each.slots)),
            ]
        )
        return [
            Leased(
                id=id.decode(),
                origin=origin.decode(),
                lease=lease.decode(),
                url=url.decode(),
                secret=secret.decode(),
                body=body,
                tries=int(tries),
            )
            for id, origin, lease, url, secret, body, tries in found
        ]

    async def note(self, attempts: Sequence[tuple[Leased, Noted]]) -> list[bool]:
        """Note attempts, in one step. Repeating it does nothing.

        Returns:
            Of each, whether its event was still ours.
        """
        done = await self._note(
            args=[self._keep, *(part for event, noted in attempts for part in _said(event, noted))]
        )
        return [bool(each) for each in done]

    async def sweep(self) -> int:
        """Give up what has waited for too long.

        Returns:
            How many events there were.
        """
        return int(await self._sweep(args=[outbox.GIVE_UP_SECONDS, self._keep, _SWEEP]))


def _said(event: Leased, noted: Noted) -> tuple[object, ...]:
    return (
        *(event.id, event.origin, event.lease, json.dumps(noted.attempt), noted.outcome),
        *(noted.delay, noted.origin, noted.pause, noted.took),
    )
