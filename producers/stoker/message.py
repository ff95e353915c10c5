"""A job's message: what it carries, and the text that kombu's Redis transport keeps for it.

The messages are Celery's (protocol 2, made by Celery's own `as_task_v2`) in kombu's envelope. A
test holds them against what `apply_async` sends.
"""

import base64
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic_core import to_json

from stoker.idempotency import digest_of, fingerprint_of
from stoker.ids import new_id
from stoker.payload import Packed
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

# These stand in a mold for what is each message's own; nothing else in a mold has angle brackets.
_ID: Final = "<id>"
_KWARGS: Final = "<kwargs>"
_BODY: Final = "<body>"


@dataclass(frozen=True, kw_only=True, slots=True)
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
    kwargs: dict[str, Any] = field(repr=False)
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
    beside_expires: int,
    countdown: float | None,
    expires: float | datetime | None,
) -> Message:
    """Make a job's message, with an ID of its own.

    Args:
        job: The job.
        packed: Its inputs, and what travels beside them.
        pool: The pool that is to run it.
        beside_expires: Seconds for which what travels beside it is kept.
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
        beside_expires=beside_expires,
        countdown=countdown,
        expires=expires,
        key=None if key is None else digest_of(key, job.tenant),
        fingerprint="" if key is None else fingerprint_of(job, pool),
    )


@dataclass(frozen=True, slots=True)
class _Mold:
    """What messages of one kind have in common.

    Attributes:
        head: What stands before the body.
        tail: What stands behind it: the pieces that an ID joins.
        before: What stands in the body before the keyword arguments.
        after: What stands behind them.
    """

    head: str
    tail: Sequence[str]
    before: bytes
    after: bytes


class Envelopes:
    """Makes the JSON texts of messages that are sent at one time, what they share once.

    Args:
        app: The Celery app that makes the messages.
        now: Seconds since the epoch by the server's clock.
    """

    def __init__(self, app: Any, now: float) -> None:
        self._app = app
        self._now = now
        self._molds: dict[Hashable, _Mold] = {}

    def text(self, message: Message, tenant: str = "") -> str:
        """Make the text of one message.

        Args:
            message: The message.
            tenant: The tenant among whose jobs this one counts; '' if nobody counts.
        """
        times = (message.countdown, message.expires)
        kind = (message.task, message.pool, message.priority, times, message.key, tenant)
        mold = self._molds.get(kind)
        if mold is None:
            mold = self._molds[kind] = self._mold(message, tenant)
        kwargs = to_json(message.kwargs, inf_nan_mode="constants")
        body = base64.b64encode(b"".join((mold.before, kwargs, mold.after))).decode("ascii")
        # The ID names the delivery as well: it is nobody else's. A worker of Stoker's claims a
        # message under a name of its own.
        return f"{mold.head}{body}{message.id.join(mold.tail)}"

    def _mold(self, message: Message, tenant: str) -> _Mold:
        made = self._app.amqp.as_task_v2(
            _ID,
            celery_name(message.task),
            args=(),
            kwargs={},
            countdown=message.countdown,
            expires=message.expires,
            argsrepr=HIDDEN,
            kwargsrepr=HIDDEN,
            ignore_result=None,
        )
        queue = queue_name(message.pool)
        own = {IDEMPOTENCY_HEADER: message.key, COUNTED_HEADER: tenant}
        envelope = {
            "body": _BODY,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                **made.headers,
                CONTRACT_HEADER: CONTRACT,
                SUBMITTED_HEADER: self._now,
                **{name: value for name, value in own.items() if value},
            },
            "properties": {
                **made.properties,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": PRIORITIES[message.priority],
                "body_encoding": "base64",
                "delivery_tag": _ID,
            },
        }
        args, _, links = made.body
        head, _, tail = json.dumps(envelope).partition(_BODY)
        before, _, after = to_json([args, _KWARGS, links]).partition(to_json(_KWARGS))
        return _Mold(head, tail.split(_ID), before, after)
