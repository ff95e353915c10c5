"""Puts jobs on their queue: one transaction for many messages, and for knowing them as queued.

The messages are Celery's (protocol 2, made by Celery's own `as_task_v2`) in the envelope that
kombu's Redis transport reads. A test holds them against what `apply_async` sends.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from stoker.bounds import SUBMIT, Bounds, queue_full
from stoker.full import refused_when_full
from stoker.idempotency import digest_of, fingerprint_of
from stoker.ids import new_id
from stoker.payload import Packed
from stoker.place import Place
from stoker_config import keys
from stoker_config.once import WAITING_SECONDS
from stoker_tasks.errors import IdempotencyConflict
from stoker_tasks.event import wish
from stoker_tasks.job import Job, Priority
from stoker_tasks.wire import (
    CONTRACT,
    CONTRACT_HEADER,
    COUNTED_HEADER,
    HIDDEN,
    IDEMPOTENCY_HEADER,
    PRIORITIES,
    SUBMITTED_HEADER,
    celery_name,
    queue_name,
)

# Redis answers nobody else while it runs a transaction.
_TRANSACTION: Final = 500
# How `SUBMIT` begins to say that nothing was sent.
_CONFLICT: Final = 0
_FULL: Final = 2


@dataclass(frozen=True, kw_only=True)
class Message:
    """A job that is ready to be sent.

    Attributes:
        id: The job's ID.
        task: The task's name.
        kwargs: The message's keyword arguments.
        pool: The pool that is to run it.
        priority: Its priority.
        beside: The artifacts that travel beside it.
        beside_expires: Seconds for which these are kept.
        countdown: Seconds to wait before it may run.
        expires: Seconds, or a time, after which it must not be started any more.
        key: The digest of its idempotency key, if it has one.
        fingerprint: What is the same for two requests that ask for the same, if it has a key.
    """

    id: str
    task: str
    kwargs: Mapping[str, Any] = field(repr=False)
    pool: str
    priority: Priority
    beside: Sequence[str] = ()
    beside_expires: int = 0
    countdown: float | None = None
    expires: float | datetime | None = None
    key: str | None = None
    fingerprint: str = ""


def message_of(
    job: Job,
    packed: Packed,
    *,
    pool: str,
    countdown: float | None,
    expires: float | datetime | None,
) -> Message:
    """Make a job's message, with an ID of its own.

    Args:
        job: The job.
        packed: Its inputs, and what travels beside them.
        pool: The pool that is to run it.
        countdown: Seconds to wait before it may run.
        expires: Seconds, or a time, after which it must not be started any more.
    """
    key = job.idempotency_key
    return Message(
        id=new_id(),
        task=job.task,
        kwargs=packed.kwargs,
        pool=pool,
        priority=job.priority,
        beside=packed.beside,
        countdown=countdown,
        expires=expires,
        key=None if key is None else digest_of(key, job.tenant),
        fingerprint="" if key is None else fingerprint_of(job, pool),
    )


def headers(now: float) -> dict[str, Any]:
    """Give the headers that Stoker adds to a message.

    Args:
        now: Seconds since the epoch.
    """
    return {CONTRACT_HEADER: CONTRACT, SUBMITTED_HEADER: now}


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
    lists: dict[str, list[str]] = {}
    wishes: dict[str, str] = {}
    for message in messages:
        lists.setdefault(_list_of(message), []).append(envelope(app, message, now))
        if wanted := _wish_of(message):
            wishes[message.id] = wanted
    pipe.zadd(keys.QUEUED, {message.id: now for message in messages})
    pipe.hset(keys.PLACED, mapping={message.id: _place_of(message) for message in messages})
    if wishes:
        pipe.hset(keys.WISHES, mapping=wishes)
    for key, envelopes in lists.items():
        pipe.lpush(key, *envelopes)


def _fill_unless(
    pipe: Any, app: Any, messages: Sequence[Message], now: float, bounds: Bounds
) -> None:
    names = [keys.QUEUED, keys.PLACED, keys.WISHES]
    values: list[Any] = [now, WAITING_SECONDS]
    values += ["" if limit is None else limit for limit in (bounds.pool, bounds.tenant)]
    for message in messages:
        queue, tenant = _list_of(message), _counted(message, bounds)
        names += [queue, keys.idempotency(message.key) if message.key else queue]
        values += [message.id, _place_of(message, tenant), _wish_of(message)]
        values += [envelope(app, message, now, tenant), message.fingerprint]
        values += [queue_name(message.pool), tenant]
    pipe.eval(SUBMIT, len(names), *names, *values)


def _list_of(message: Message) -> str:
    queue = queue_name(message.pool)
    return keys.queue(queue, PRIORITIES[message.priority], keys.PRIORITY_STEPS)


def _place_of(message: Message, tenant: str = "") -> str:
    kwargs = message.kwargs
    model, retention = kwargs.get("model"), kwargs.get("retention")
    return Place(message.pool, message.task, model, tenant, retention).line()


def _wish_of(message: Message) -> str:
    return wish(message.kwargs, {}) if message.kwargs.get("webhook") is not None else ""


def envelope(app: Any, message: Message, now: float, tenant: str = "") -> str:
    """Make the JSON text that kombu's Redis transport keeps for one message.

    Args:
        app: The Celery app that makes the message.
        message: The message.
        now: Seconds since the epoch by the server's clock.
        tenant: The tenant among whose jobs this one counts; '' if nobody counts.
    """
    made = app.amqp.as_task_v2(
        message.id,
        celery_name(message.task),
        args=(),
        kwargs=dict(message.kwargs),
        countdown=message.countdown,
        expires=message.expires,
        argsrepr=HIDDEN,
        kwargsrepr=HIDDEN,
        ignore_result=None,
    )
    own = {IDEMPOTENCY_HEADER: message.key, COUNTED_HEADER: tenant}
    body = json.dumps(made.body, ensure_ascii=False).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode("ascii"),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                **made.headers,
                **headers(now),
                **{name: value for name, value in own.items() if value},
            },
            "properties": {
                **made.properties,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue_name(message.pool)},
                "priority": PRIORITIES[message.priority],
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }
    )
