"""What passes through the stages: a delivery, and what has become of its job so far."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, Protocol

from stoker_tasks.errors import StokerError
from stoker_tasks.job import Job
from stoker_tasks.result import Success, Timing
from stoker_workers.engine.clocks import Clocks
from stoker_workers.engine.model import ModelKey, Output, Prepared, WarmModel

_US: Final = 1e6
_US_IN_MS: Final = 1e3


@dataclass(slots=True, eq=False)  # not frozen, which would take twice as long to make
class Delivery:
    """One hand-over of a job's message to this worker.

    Attributes:
        id: The job's ID.
        celery_task: The message's Celery task name.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        submitted: When it was submitted or, failing that, arrived: `Outlet.now` of that time.
        priority: The step of its message's priority, one of four: 0 is served first.
        redelivered: Whether it was delivered before, to a worker that did not end it.
        handle: The broker's own record of it; the engine never looks inside.
    """

    id: str
    celery_task: str
    args: Sequence[Any] = field(repr=False)
    kwargs: Mapping[str, Any] = field(repr=False)
    submitted: float
    priority: int
    redelivered: bool
    handle: Any = field(repr=False)


Outcome = Success | StokerError


@dataclass(frozen=True, slots=True)
class Part:
    """New text of a job, for one of those who follow it.

    Attributes:
        number: How many parts they had before.
        at: How many characters of the text stand before it; 0 as well if it is told anew.
        text: What is new.
    """

    number: int
    at: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Said:
    """What is new of a job's text.

    Attributes:
        delivery: The job.
        keep: Seconds for which its result will be kept.
        piece: What its stream lacks.
        event: What its webhook is to be told now.
    """

    delivery: Delivery
    keep: int
    piece: Part | None
    event: Part | None


@dataclass(frozen=True, slots=True)
class Deaths:
    """What is known of the workers that died while they had a job, and of their stages.

    Attributes:
        caused: How many it may have caused; None if nobody suspects it.
        beside: How many died that held it and did not run it: of another job, or of this one,
            before it could be marked as running.
    """

    caused: int | None = None
    beside: int = 0


class Outlet(Protocol):
    """Where the engine tells what becomes of deliveries. Called from its threads."""

    def now(self) -> float:
        """Give seconds since the epoch by the clock that producers and workers share."""

    def deaths(self, delivery: Delivery) -> Deaths:
        """Count the deaths that this redelivered job may have caused."""

    def blame(self, delivery: Delivery) -> bool:
        """Have this job be to blame if the worker dies from now on.

        Returns:
            Whether anybody waits for it; else it is to be dropped.
        """

    def clear(self, delivery: Delivery) -> None:
        """Have this job be to blame no more."""

    def abandoned(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Pick those that nobody waits for any more: canceled, revoked or expired."""

    def canceled(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Pick those that were canceled after they had been started."""

    def started(self, deliveries: Sequence[Delivery]) -> None:
        """The first forward pass of these begins now."""

    def said(self, said: Sequence[Said]) -> Sequence[Delivery]:
        """Hand on new text of running jobs; picks those deliveries that are of no account by now.

        If it raises, nothing counts as handed on.
        """

    def finished(self, outcomes: Sequence[tuple[Delivery, Outcome]]) -> None:
        """Store these outcomes and acknowledge their deliveries, in this order."""

    def dropped(self, deliveries: Sequence[Delivery]) -> None:
        """Conclude deliveries that `abandoned` or `canceled` picked; they have no result."""

    def returned(
        self, deliveries: Sequence[Delivery], suspects: Sequence[Delivery], *, guilty: bool
    ) -> None:
        """Give deliveries back to the queue at once: a stage of this worker died of them.

        Args:
            deliveries: They are marked as delivered before.
            suspects: Those of them that are to share no forward pass from now on.
            guilty: Whether the suspects have caused it for certain.
        """


@dataclass(slots=True, eq=False)
class Work:
    """A delivery on its way through the stages; each field belongs to the stage that sets it.

    Attributes:
        delivery: What arrived.
        job: The checked job, once it is read.
        tenant: Whose job it is; all that name nobody are one tenant's.
        key: What its model is loaded by.
        clocks: Until when it may wait and run; None if it may do so for ever.
        alone: Whether it shares no forward pass, because a worker died of one that it was in.
        watched: Whether its model is loaded warily and it is preprocessed with nothing beside it,
            because workers keep dying that hold it.
        lets_load: Whether it is watched, and lets the models that are being loaded be loaded first.
        model: The warm model, once it is loaded.
        slow: Whether it takes long to preprocess, which is then done beside the line.
        fetching: What it needs beside its message, once that is asked for.
        prepared: Its rows, once they are preprocessed.
        outputs: What the forward passes gave for its rows, by position.
        missing: How many rows have no output yet.
        keep: Seconds for which its result is kept.
        digest: By what its answer is cached; None if it is not to be.
        answer: The answer of an earlier job, once it is found.
        error: Why it fails, once it does.
    """

    delivery: Delivery
    job: Job | None = None
    tenant: str = ""
    key: ModelKey | None = None
    clocks: Clocks | None = None
    alone: bool = False
    watched: bool = False
    lets_load: bool = False
    model: WarmModel | None = None
    slow: bool = False
    fetching: "Future[Any] | None" = None
    prepared: Prepared | None = None
    outputs: list[Any] = field(default_factory=list)
    missing: int = 0
    keep: int = 0
    digest: str | None = None
    answer: Output | None = None
    error: StokerError | None = None

    fetch_s: float = 0.0
    taken: float = 0.0  # seconds since the epoch, as the outlet has them: preprocessing began
    preprocess_s: float = 0.0
    ready: float = 0.0  # monotonic seconds: waits for the device
    started: float = 0.0  # monotonic seconds: first forward pass began
    forwarded: float = 0.0  # monotonic seconds: last forward pass ended
    forward_s: float = 0.0
    batch: str = ""
    batch_size: int = 0
    release_reason: str = ""
    forwards: int = 0
    tokens: int = 0
    padded_tokens: int = 0

    @property
    def due(self) -> float:
        """When the next of its clocks runs out, in monotonic seconds."""
        return self.clocks.due(self.started) if self.clocks else inf

    def late(self) -> StokerError | None:
        """Say which of its clocks has run out; None if none has."""
        return self.clocks.late(self.started) if self.clocks else None

    def timing(self) -> Timing:
        """Say where the time went, now that the result is ready to be stored."""
        return Timing(
            queue_ms=_ms(max(0.0, self.taken - self.delivery.submitted)),
            fetch_ms=_ms(self.fetch_s),
            preprocess_ms=_ms(self.preprocess_s),
            ready_ms=_ms(self.started - self.ready),
            forward_ms=_ms(self.forward_s),
            postprocess_ms=_ms(time.monotonic() - self.forwarded),
            batch=self.batch,
            batch_size=self.batch_size,
            release_reason=self.release_reason,
            forwards=self.forwards,
            tokens=self.tokens,
            padded_tokens=self.padded_tokens,
        )

    def set_answer(self, answer: Output) -> None:
        """Keep the answer of an earlier job: there is nothing to be run."""
        self.answer = answer
        self.ready = self.started = self.forwarded = time.monotonic()

    def set_prepared(self, prepared: Prepared) -> None:
        """Keep the rows, and make room for their outputs."""
        self.prepared = prepared
        self.missing = len(prepared.chunks)
        self.outputs = [None] * self.missing
        self.tokens = sum(chunk.length for chunk in prepared.chunks)


def _ms(seconds: float) -> float:
    """Give whole microseconds as milliseconds; `round` takes twice as long."""
    return int(seconds * _US) / _US_IN_MS
