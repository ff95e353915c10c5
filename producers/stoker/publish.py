"""Puts jobs on their queue: one transaction for many messages, and for knowing them as queued."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from stoker.bounds import SUBMIT, Bounds, queue_full
from stoker.full import refused_when_full
from stoker.message import Envelopes, Message
from stoker.place import Place
from stoker_config import keys
from stoker_config.once import WAITING_SECONDS
from stoker_tasks.errors import IdempotencyConflict
from stoker_tasks.event import wish
from stoker_tasks.job import Priority
from stoker_tasks.wire import (
    PRIORITIES,
    queue_name,
)

# Redis answers nobody else while it runs a transaction.
_TRANSACTION: Final = 500
# How `SUBMIT` begins to say that nothing was sent.
_CONFLICT: Final = 0
_FULL: Final = 2


def bunches(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Part messages into bunches of one transaction each."""
    for start in range(0, len(messages), _TRANSACTION):
        yield messages[start : start + _TRANSACTION]


def fill(pipe: Any, app: Any, messages: Sequence[Message], now: float, bounds: Bounds) -> None:
    """Put what sends a bunch of messages into a transaction.

    Args:
        pipe: A pipeline of redis-py, blocking or not.
        app: The Celery app that makes the messages.
        messages: The bunch.
        now: Seconds since the epoch by the server's clock.
        bounds: How many jobs may wait.
    """
    if _has_conditions(messages, bounds):
        _fill_unless(pipe, app, messages, now, bounds)
    else:
        _fill(pipe, app, messages, now)
    for message in messages:
        if message.beside:
            pipe.sadd(keys.inputs(message.id), *message.beside)
            pipe.expire(keys.inputs(message.id), message.beside_expires)


def sent(
    messages: Sequence[Message], answers: Sequence[Any], bounds: Bounds, before: Sequence[str]
) -> list[str]:
    """Give the jobs that a bunch of messages has come to, from what its transaction answered.

    Args:
        messages: The bunch.
        answers: What its transaction answered.
        bounds: How many jobs may wait.
        before: The jobs of the bunches before it.

    Raises:
        IdempotencyConflict: A key stands for another request; nothing of the bunch was sent.
        QueueFull: A bound has no room for the bunch; nothing of it was sent.
    """
    if not _has_conditions(messages, bounds):
        return [message.id for message in messages]
    code, *found = answers[0]
    if code == _FULL:
        raise queue_full(found, before)
    if code == _CONFLICT:
        raise IdempotencyConflict(
            "this idempotency_key was used before, for a job with another task, inputs, parameters "
            "or options: give each request a key of its own, and repeat it unchanged",
            {"position": len(before) + int(found[0]) - 1},
        )
    return [job_id.decode() for job_id in found]


def publish(
    app: Any, client: Any, messages: Sequence[Message], now: float, bounds: Bounds
) -> list[str]:
    """Send messages, in order.

    Args:
        app: The Celery app that makes them.
        client: A redis-py client of the broker's server.
        messages: Any number; each 500 are one transaction.
        now: Seconds since the epoch by the server's clock.
        bounds: How many jobs may wait.

    Returns:
        The ID of each message's job: its own, or that of the first job with the same key.

    Raises:
        IdempotencyConflict: A key stands for another request.
        QueueFull: A bound, or Redis, has no room for a transaction; those before it were sent.
    """
    ids: list[str] = []
    for bunch in bunches(messages):
        with refused_when_full(ids), client.pipeline(transaction=True) as pipe:
            fill(pipe, app, bunch, now, bounds)
            ids += sent(bunch, pipe.execute(), bounds, ids)
    return ids


def _has_conditions(messages: Sequence[Message], bounds: Bounds) -> bool:
    if bounds.pool is not None:
        return True
    return any(message.key or _counted(message, bounds) for message in messages)


def _counted(message: Message, bounds: Bounds) -> str:
    """Give the tenant among whose jobs this one counts; '' if nobody counts."""
    tenant = message.kwargs.get("tenant")
    return str(tenant) if bounds.tenant is not None and tenant is not None else ""


def _fill(pipe: Any, app: Any, messages: Sequence[Message], now: float) -> None:
    envelopes, places = Envelopes(app, now), _Places(now)
    lists: dict[tuple[str, Priority], list[str]] = {}
    wishes: dict[str, str] = {}
    for message in messages:
        lists.setdefault((message.pool, message.priority), []).append(envelopes.text(message))
        if wanted := _wish_of(message):
            wishes[message.id] = wanted
    pipe.hset(keys.JOBS, mapping={message.id: places.line(message) for message in messages})
    if wishes:
        pipe.hset(keys.WISHES, mapping=wishes)
    for (pool, priority), texts in lists.items():
        pipe.lpush(_list_of(pool, priority), *texts)


def _fill_unless(
    pipe: Any, app: Any, messages: Sequence[Message], now: float, bounds: Bounds
) -> None:
    envelopes, places = Envelopes(app, now), _Places(now)
    names = [keys.JOBS, keys.WISHES]
    values: list[Any] = [now, WAITING_SECONDS]
    values += ["" if limit is None else limit for limit in (bounds.pool, bounds.tenant)]
    for message in messages:
        queue, tenant = _list_of(message.pool, message.priority), _counted(message, bounds)
        names += [queue, keys.idempotency(message.key) if message.key else queue]
        values += [message.id, places.line(message, tenant), _wish_of(message)]
        values += [envelopes.text(message, tenant), message.fingerprint]
        values += [queue_name(message.pool), tenant]
    pipe.eval(SUBMIT, len(names), *names, *values)


def _list_of(pool: str, priority: Priority) -> str:
    return keys.queue(queue_name(pool), PRIORITIES[priority], keys.PRIORITY_STEPS)


class _Places:
    """The lines of jobs that are queued at one time: most are alike, and are written once."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._lines: dict[tuple[Any, ...], str] = {}

    def line(self, message: Message, tenant: str = "") -> str:
        model, retention = message.kwargs.get("model"), message.kwargs.get("retention")
        place = (message.pool, message.task, model, tenant, retention)
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = Place(self._now, *place).line()
        return line


def _wish_of(message: Message) -> str:
    return wish(message.kwargs, {}) if message.kwargs.get("webhook") is not None else ""
