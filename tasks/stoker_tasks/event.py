"""What a webhook tells: events of a job, each with an ID and a body that stay."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from stoker_tasks.result import Result
from stoker_tasks.webhook import EventType, Webhook, origin_of

# A result travels in the event up to this size; the standard advises bodies below 20 kB.
INLINE_BYTES: Final = 20_000
# Counts how often a job was put back by hand: each time it has a new end to be told.
ROUND_HEADER: Final = "stoker-round"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event, ready to be put into the outbox.

    Attributes:
        id: The `webhook-id`: always the same for a job, a type and a round.
        job: The job's ID.
        type: What it tells.
        url: Where it is posted to.
        secret: The name of the secrets that sign it.
        body: The JSON text that is posted.
    """

    id: str
    job: str
    type: EventType
    url: str = field(repr=False)
    secret: str
    body: str = field(repr=False)

    @property
    def origin(self) -> str:
        """The scheme, host and port of the receiver."""
        return origin_of(self.url)


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who is to be told of one job.

    Attributes:
        webhook: Where, and of what.
        metadata: The caller's own pairs, which each event gives back.
        round: How often the job was put back by hand.
    """

    webhook: Webhook
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    round: int = 0

    def started(self, job_id: str) -> Event | None:
        """Give the event of a job's start; None if nobody wants it."""
        return self._event(job_id, "job.started", {"state": "running", "terminal": False})

    def output(self, job_id: str, attempt: int, sequence: int, at: int, text: str) -> Event | None:
        """Give an event of a job's new text; None if nobody wants it.

        Args:
            job_id: The job.
            attempt: Which delivery of the job generates.
            sequence: How many such events this delivery has told before.
            at: How many characters of the text stand before what is new.
            text: What is new.
        """
        new = {"attempt": attempt, "sequence": sequence, "at": at, "text": text}
        data = {"state": "running", "terminal": False, "output": new}
        return self._event(job_id, "job.output", data, f"{attempt}:{sequence}:")

    def completed(self, job_id: str, result: Result) -> Event | None:
        """Give the event of a job's end, whatever it is; None if nobody wants it."""
        told = result.model_dump(mode="json", exclude={"metadata"})
        size = len(json.dumps(told, ensure_ascii=False).encode(errors="surrogatepass"))
        data: dict[str, Any] = {"state": result.status, "terminal": True, "result": told}
        if size > INLINE_BYTES:
            # Whoever wants it asks for it by the job's ID.
            data.update(result=None, result_bytes=size)
        return self._event(job_id, "job.completed", data)

    def _event(
        self, job_id: str, type: EventType, data: Mapping[str, Any], part: str = ""
    ) -> Event | None:
        if type not in self.webhook.events:
            return None
        body = {
            "type": type,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "data": {"id": job_id, **data, "metadata": dict(self.metadata)},
        }
        return Event(
            id=event_id(job_id, type, self.round, part),
            job=job_id,
            type=type,
            url=self.webhook.url,
            secret=self.webhook.secret,
            body=_written(body),
        )


def _written(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can tell
        return json.dumps(body, separators=(",", ":"))
    return text


def event_id(job_id: str, type: EventType, round: int = 0, part: str = "") -> str:
    """Give the ID of an event: whoever makes it, and however often, it is the same.

    A stock producer chooses its jobs' IDs, and an event's must have no dot: hence the digest.

    Args:
        job_id: The job.
        type: What the event tells.
        round: How often the job was put back by hand.
        part: Which of the job's events of this type it is, where there are several.
    """
    digest = hashlib.sha256(f"{round}:{type}:{part}{job_id}".encode()).hexdigest()
    return f"evt_{digest[:32]}"


def listener_of(kwargs: Mapping[str, Any], headers: Mapping[str, Any]) -> Listener | None:
    """Read from a message who is to be told of its job; None if nobody, or nobody who can be.

    Args:
        kwargs: The message's keyword arguments, which may be anything.
        headers: Its headers.
    """
    if kwargs.get("webhook") is None:
        return None
    try:
        webhook = Webhook.model_validate(kwargs["webhook"])
    except ValidationError:
        return None  # the job is refused for it
    metadata, round = kwargs.get("metadata"), headers.get(ROUND_HEADER)
    return Listener(
        webhook=webhook,
        metadata=metadata if isinstance(metadata, Mapping) else {},
        round=round if isinstance(round, int) else 0,
    )


def wish(kwargs: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
    """Give what `listener_of` needs, as JSON, for whoever ends a job without its message."""
    return json.dumps(
        {
            "kwargs": {name: kwargs[name] for name in ("webhook", "metadata") if name in kwargs},
            "headers": {name: headers[name] for name in (ROUND_HEADER,) if name in headers},
        }
    )
