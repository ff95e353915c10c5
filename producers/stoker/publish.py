"""Puts jobs on their queue: one transaction for many messages, and for knowing them as queued.

The messages are Celery's (protocol 2, made by Celery's own `as_task_v2`) in the envelope that
kombu's Redis transport reads. A test holds them against what `apply_async` sends.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from stoker_config import keys
from stoker_tasks.event import wish
from stoker_tasks.job import Priority
from stoker_tasks.wire import (
    CONTRACT,
    CONTRACT_HEADER,
    HIDDEN,
    PRIORITIES,
    SUBMITTED_HEADER,
    celery_name,
    queue_name,
)

# Redis answers nobody else while it runs a transaction.
_TRANSACTION: Final = 500


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


def headers(now: float) -> dict[str, Any]:
    """Give the headers that Stoker adds to a message.

    Args:
        now: Seconds since the epoch.
    """
    return {CONTRACT_HEADER: CONTRACT, SUBMITTED_HEADER: now}


def publish(app: Any, client: Any, messages: Sequence[Message], now: float) -> None:
    """Send messages, in order.

    Args:
        app: The Celery app that makes them.
        client: A redis-py client of the broker's server.
        messages: Any number; each 500 are one transaction.
        now: Seconds since the epoch by the server's clock.
    """
    for start in range(0, len(messages), _TRANSACTION):
        lists: dict[str, list[str]] = {}
        placed: dict[str, str] = {}
        wishes: dict[str, str] = {}
        for message in messages[start : start + _TRANSACTION]:
            key = keys.queue(
                queue_name(message.pool), PRIORITIES[message.priority], keys.PRIORITY_STEPS
            )
            lists.setdefault(key, []).append(envelope(app, message, now))
            model = message.kwargs.get("model")
            placed[message.id] = json.dumps([message.pool, message.task, model])
            if message.kwargs.get("webhook") is not None:
                wishes[message.id] = wish(message.kwargs, {})
        with client.pipeline(transaction=True) as pipe:
            pipe.zadd(keys.QUEUED, dict.fromkeys(placed, now))
            pipe.hset(keys.PLACED, mapping=placed)
            if wishes:
                pipe.hset(keys.WISHES, mapping=wishes)
            for each in messages[start : start + _TRANSACTION]:
                if each.beside:
                    pipe.sadd(keys.inputs(each.id), *each.beside)
                    pipe.expire(keys.inputs(each.id), each.beside_expires)
            for key, envelopes in lists.items():
                pipe.lpush(key, *envelopes)
            pipe.execute()


def envelope(app: Any, message: Message, now: float) -> str:
    """Make the JSON text that kombu's Redis transport keeps for one message."""
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
    body = json.dumps(made.body, ensure_ascii=False).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode("ascii"),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {**made.headers, **headers(now)},
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
