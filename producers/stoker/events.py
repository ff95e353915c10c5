"""The events of webhooks: what was told to whom, what came of it, and telling it again."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast, get_args

from stoker_config import keys, outbox
from stoker_tasks.event import event_id
from stoker_tasks.webhook import EventType, origin_of

EventState = Literal["pending", "delivered", "dead"]
# Why an event was given up: after its last attempt, because its endpoint said that it is gone, or
# because it had said so before.
Why = Literal["given_up", "gone", "disabled"]

_INDEXES: Final = {
    "pending": keys.PENDING,
    "delivered": keys.DELIVERED,
    "dead": keys.DEAD_EVENTS,
}
_PAGE: Final = 200
# How often a job that was put back by hand is looked for.
_ROUNDS: Final = 10

# Has an event delivered again, from the start of its schedule. Gives 1, or 0 if there is none.
# ARGV: the event.
_REPLAY: Final = (
    outbox.EMIT
    + f"""
local id = ARGV[1]
local key = '{keys.event("")}' .. id
local origin = redis.call('HGET', key, 'origin')
if not origin then return 0 end
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
redis.call('HSET', key, 'state', 'pending', 'tries', 0, 'lease', '')
redis.call('HDEL', key, 'why')
redis.call('EXPIRE', key, {outbox.KEEP_SECONDS})
redis.call('EXPIRE', key .. ':attempts', {outbox.KEEP_SECONDS})
redis.call('ZREM', '{keys.DELIVERED}', id)
redis.call('ZREM', '{keys.DEAD_EVENTS}', id)
redis.call('ZADD', '{keys.PENDING}', now, id)
redis.call('ZREM', '{keys.again("")}' .. origin, id)
redis.call('ZADD', '{keys.due("")}' .. origin, now, id)
redis.call('ZADD', '{keys.ORIGINS}', 'LT', now, origin)
wake()
return 1
"""
)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One posting of an event.

    Attributes:
        at: When it began.
        ms: How long it took, in milliseconds.
        status: The receiver's HTTP status; None if none came.
        error: Why none came: `timeout`, `connection`, `tls`, `unresolved` (the host has no
            address), `not_allowed` (see STOKER_ALLOWED_NETWORKS), `no_secret` or `internal`.
    """

    at: datetime
    ms: float
    status: int | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class WebhookEvent:
    """One event, and how far it is.

    Attributes:
        id: Its `webhook-id`.
        job: The job that it tells of.
        type: What it tells: `job.started`, `job.output` or `job.completed`.
        state: `pending`, `delivered` or `dead`.
        why: Why it was given up; None unless it was.
        created: When it came to be.
        tries: How many attempts were made since it came to be, or was last replayed.
        next: When it is due; None unless it is pending.
        origin: Its receiver's scheme, host and port.
        url: Where it is posted to; it may hold a token of the caller's.
        attempts: The last of its attempts, in order.
    """

    id: str
    job: str
    type: EventType
    state: EventState
    why: Why | None
    created: datetime
    tries: int
    next: datetime | None
    origin: str
    url: str = field(repr=False)
    attempts: tuple[Attempt, ...] = ()


class Webhooks:
    """The events of one server.

    Args:
        client: A redis-py client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def list(
        self,
        *,
        state: EventState | None = None,
        job: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> list[WebhookEvent]:
        """List events without their attempts, the newest of each state first.

        Args:
            state: Only those of this state.
            job: Only those of this job.
            since: Only those that came to be at this time or later; of pending ones, that wait
                since then.
            until: Only those before this time.
            limit: How many at most.
        """
        if job is not None:
            return [event for event in self._told(job) if state in (None, event.state)][:limit]
        events: list[WebhookEvent] = []
        for each in (state,) if state else get_args(EventState):
            for event in self._of(each, since, until):
                if len(events) == limit:
                    return events
                events.append(event)
        return events

    def get(self, event_id: str) -> WebhookEvent | None:
        """Read one event with its attempts; None if there is none, or no more."""
        for event in self._read([event_id], attempts=True):
            return event
        return None

    def replay(
        self,
        event_id: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        state: EventState = "dead",
    ) -> int:
        """Have events posted again now, under their old IDs, with a schedule of their own.

        Args:
            event_id: One event; a range of them if None.
            since: The range: events that came to be at this time or later.
            until: And before this one.
            state: Of the range only those of this state.

        Returns:
            How many there were.

        Raises:
            ValueError: Neither an event nor a range is given.
        """
        if event_id is not None:
            return int(self._client.eval(_REPLAY, 0, event_id))
        if since is None and until is None:
            raise ValueError("name an event, or a range by since= or until=")
        ids = [event.id for event in self._of(state, since, until)]
        return sum(int(self._client.eval(_REPLAY, 0, each)) for each in ids)

    def forget(self, job: str) -> None:
        """Delete what was told of a job, which may quote its result.

        What is yet to be delivered stays until it is, or is given up: its receiver waits for it.

        Args:
            job: The job.
        """
        told = list(self._told(job))
        over = [event.id for event in told if event.state != "pending"]
        if over:
            # No transaction, which a server without memory would refuse.
            with self._client.pipeline(transaction=False) as pipe:
                pipe.delete(*map(keys.event, over), *map(keys.attempts, over))
                if len(over) == len(told):
                    pipe.delete(keys.told_output(job))
                pipe.zrem(keys.DELIVERED, *over)
                pipe.zrem(keys.DEAD_EVENTS, *over)
                pipe.execute()

    def alive(self) -> bool:
        """Say whether a courier lives, without which nothing is delivered."""
        return bool(self._client.exists(keys.COURIER))

    def disabled(self) -> dict[str, datetime]:
        """List the endpoints that said that they are gone (410), and since when."""
        found = self._client.zrange(keys.DISABLED, 0, -1, withscores=True)
        return {endpoint.decode(): _at(score) for endpoint, score in found}

    def enable(self, url: str) -> bool:
        """Let events be posted again to an endpoint that had said that it is gone.

        What was given up meanwhile is dead: replay it.

        Args:
            url: The endpoint; what follows a `?` does not count.

        Returns:
            Whether it was disabled.

        Raises:
            ValueError: This is no URL.
        """
        origin_of(url)
        return bool(self._client.zrem(keys.DISABLED, url.partition("?")[0]))

    def _told(self, job: str) -> Iterator[WebhookEvent]:
        """Give all events of a job."""
        types = get_args(EventType)
        # Each time that it is put back by hand, a job tells anew.
        ids = [event_id(job, type, again) for again in range(_ROUNDS) for type in types]
        # Of new text it tells many times.
        said = self._client.smembers(keys.told_output(job))
        yield from self._read([*ids, *sorted(each.decode() for each in said)])

    def _of(
        self, state: EventState, since: datetime | None, until: datetime | None
    ) -> Iterator[WebhookEvent]:
        low = "-inf" if since is None else since.timestamp()
        high = "+inf" if until is None else f"({until.timestamp()}"
        index, at = _INDEXES[state], 0
        while True:
            ids = self._client.zrevrangebyscore(index, high, low, start=at, num=_PAGE)
            yield from self._read([each.decode() for each in ids])
            if len(ids) < _PAGE:
                return
            at += _PAGE

    def _read(self, ids: Sequence[str], *, attempts: bool = False) -> Iterator[WebhookEvent]:
        if not ids:
            return
        names = ("origin", "job", "type", "url", "state", "why", "tries", "created")
        with self._client.pipeline(transaction=False) as pipe:
            for each in ids:
                pipe.hmget(keys.event(each), names)
            rows = pipe.execute()
        found = {
            each: {name: value.decode() for name, value in zip(names, row, strict=True) if value}
            for each, row in zip(ids, rows, strict=True)
            if row[0] is not None
        }
        with self._client.pipeline(transaction=False) as pipe:
            for each, row in found.items():
                pipe.zscore(keys.due(row["origin"]), each)
                pipe.zscore(keys.again(row["origin"]), each)
                pipe.lrange(keys.attempts(each), 0, -1 if attempts else 0)
            more = pipe.execute()
        parts = zip(found.items(), more[::3], more[1::3], more[2::3], strict=True)
        for (each, row), new, again, log in parts:
            due = again if new is None else new
            yield WebhookEvent(
                id=each,
                job=row["job"],
                type=cast(EventType, row["type"]),
                state=cast(EventState, row["state"]),
                why=cast(Why | None, row.get("why")),
                created=_at(row["created"]),
                tries=int(row["tries"]),
                next=None if due is None else _at(due),
                origin=row["origin"],
                url=row["url"],
                attempts=tuple(map(_attempt, log)) if attempts else (),
            )


def _attempt(text: bytes) -> Attempt:
    found = json.loads(text)
    return Attempt(**{**found, "at": _at(found["at"])})


def _at(seconds: Any) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)
