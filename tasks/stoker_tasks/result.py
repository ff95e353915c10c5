"""What a job ends in: `Success` or `Failure`."""

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from stoker_tasks.errors import ErrorType, StokerError, by_type

JSON: Final = "application/json"
# The errors of a job whose time ran out.
_EXPIRED: Final = {ErrorType.EXPIRED, ErrorType.QUEUE_TIMEOUT, ErrorType.RUN_TIMEOUT}


# What is not stored with an output: its state says the first, and the times stand beside it.
_BESIDE: Final = {"status", "times"}


class _Frozen(BaseModel):
    # Python's JSON, and so Celery's, knows numbers that are none.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants", defer_build=True)


class Artifact(_Frozen):
    """A binary output that is kept beside the result.

    Attributes:
        uri: Its name in the artifact store; the output refers to it by this name.
        mime_type: `image/png`, `audio/wav`, `application/x-npy` …
        size: Bytes.
    """

    uri: str
    mime_type: str
    size: int


class Timing(_Frozen):
    """Where a job's time went, in milliseconds, and what it shared a forward pass with.

    Attributes:
        queue_ms: From submission until a worker began to preprocess it. For a job of a stock
            Celery producer, whose message has no time of submission, from its arrival at the
            worker.
        fetch_ms: Waiting for what its message only names, by URL or in the artifact store, and
            fetching it; and for its turn to have its films decoded or its pages read.
        preprocess_ms: Tokenising, decoding, resizing.
        ready_ms: From preprocessed until its first forward pass began.
        forward_ms: The forward passes it took part in, added up.
        postprocess_ms: From its last forward pass until its result was ready to be stored.
        batch: The ID of its (last) batch; equal for all jobs of one forward pass.
        batch_size: How many jobs that batch held.
        release_reason: Why that batch was no larger: `drained` (nothing else waited that could have
            joined it), `rows` or `tokens` (as many as it may have), or `padding` (what waited
            differed too much in length).
        forwards: In how many forward passes its chunks took part.
        tokens: Its useful size along the padded axis: tokens of text, or as many pixels of an
            image or frames of a sound as cost about as much as a token.
        padded_tokens: Its share of the padded batches; `tokens / padded_tokens` is the padding
            efficiency.
    """

    queue_ms: float = 0.0
    fetch_ms: float = 0.0
    preprocess_ms: float = 0.0
    ready_ms: float = 0.0
    forward_ms: float = 0.0
    postprocess_ms: float = 0.0
    batch: str = ""
    batch_size: int = 0
    release_reason: str = ""
    forwards: int = 0
    tokens: int = 0
    padded_tokens: int = 0


class Times(_Frozen):
    """When a job passed from one state to the next, by the Redis server's clock.

    Attributes:
        queued_at: It was submitted; for a job of a stock Celery producer, it reached a worker.
        started_at: Its first forward pass began; None if none did.
        finished_at: Its result was stored.
        expires_at: Until then its result and artifacts are kept.
        attempts: How many of its deliveries were started, this one and those of workers that died
            or were stopped under it, or that a person repeated.
    """

    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    attempts: int = 0


class Success(_Frozen):
    """A job that ran.

    Attributes:
        output: What `transformers.pipeline` returns for the same call, made JSON-safe. A large
            array stands in it as `{"artifact": uri, "mime_type", "shape", "dtype"}`.
        artifacts: The binary outputs that `output` refers to.
        task: The task's name.
        model: `name@commit`; a local folder's commit is `local`.
        timing: Where the time went.
        metadata: What the caller gave with the job.
        times: When it was queued, started and finished, and until when its result is kept.
        cached: Whether the output is that of an earlier, equal job.
    """

    status: Literal["succeeded"] = "succeeded"
    output: Any = Field(repr=False)
    artifacts: list[Artifact] = []
    task: str
    model: str
    timing: Timing = Timing()
    metadata: dict[str, str] = Field(default={}, repr=False)
    times: Times = Times()
    cached: bool = False

    def to_wire(self) -> dict[str, Any]:
        """Give the form in which Celery's result backend stores it; the times stand beside it."""
        return self.model_dump(mode="json", exclude=_BESIDE)

    def to_text(self) -> str:
        """Give the same as JSON.

        Raises:
            ValueError: The output is not JSON, or has half of a surrogate pair.
        """
        return self.model_dump_json(exclude=_BESIDE)


class Failure(_Frozen):
    """A job that did not run to its end.

    Attributes:
        status: `failed`, `canceled` (by the caller) or `expired` (one of its clocks ran out).
        error: One of `ErrorType`.
        message: What went wrong and what to do about it.
        details: JSON-safe facts for programs.
        retryable: Whether the same job may succeed if it is submitted again unchanged.
        times: When it was queued, started and finished.
    """

    status: Literal["failed", "canceled", "expired"] = "failed"
    error: ErrorType
    message: str = Field(repr=False)
    details: dict[str, Any] = Field(default={}, repr=False)
    retryable: bool = False
    times: Times = Times()

    @classmethod
    def of(cls, error: StokerError, times: Times | None = None) -> "Failure":
        """Describe an error as a result."""
        status: Literal["failed", "canceled", "expired"] = "failed"
        if error.type is ErrorType.CANCELED:
            status = "canceled"
        elif error.type in _EXPIRED:
            status = "expired"
        return cls(
            status=status,
            error=error.type,
            message=error.message,
            details=error.details,
            retryable=error.retryable,
            times=times or Times(),
        )

    def to_error(self) -> StokerError:
        """Give the exception that this result stands for."""
        return by_type(self.error)(self.message, self.details)


Result = Success | Failure


def reference(uri: str, size: int) -> dict[str, Any]:
    """Give what stands in a stored result for an output that is too large for it.

    Args:
        uri: The artifact that has the output, as JSON.
        size: Its bytes.
    """
    return {"artifact": uri, "mime_type": JSON, "size": size}


def referenced(output: Any) -> str | None:
    """Give the artifact that has an output; None if the output stands in its result itself.

    The artifacts that an output may itself refer to have other types.
    """
    if not isinstance(output, dict) or output.keys() != {"artifact", "mime_type", "size"}:
        return None
    return str(output["artifact"]) if output["mime_type"] == JSON else None
