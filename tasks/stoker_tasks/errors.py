"""Everything that can go wrong with a job, as one closed list of types.

    StokerError
    ├── the caller can mend it:   InvalidInput, TooLarge, UnknownTask, UnknownModel,
    │                             ModelNotAllowed, Unserved, QueueFull,
    │                             IdempotencyConflict, InputFetchFailed, Gone, NoUrl
    ├── the operator can mend it: ModelLoadFailed, OutOfMemory, StorageUnavailable,
    │                             ResultsElsewhere, Poison, Internal
    └── nobody needs to:          Canceled, Expired, QueueTimeout, RunTimeout

An error crosses the queue as the positional JSON arguments ``(message, details)``, which is how
Celery stores an exception: a client without Stoker sees the type's name and the message, one with
Stoker gets the class back.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar


class ErrorType(StrEnum):
    """The names under which errors travel: in results, HTTP bodies, webhooks and metrics."""

    INVALID_INPUT = "invalid_input"
    TOO_LARGE = "too_large"
    UNKNOWN_TASK = "unknown_task"
    UNKNOWN_MODEL = "unknown_model"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    UNSERVED = "unserved"
    QUEUE_FULL = "queue_full"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    INPUT_FETCH_FAILED = "input_fetch_failed"
    GONE = "gone"
    NO_URL = "no_url"
    MODEL_LOAD_FAILED = "model_load_failed"
    OUT_OF_MEMORY = "out_of_memory"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    RESULTS_ELSEWHERE = "results_elsewhere"
    POISON = "poison"
    INTERNAL = "internal"
    CANCELED = "canceled"
    EXPIRED = "expired"
    QUEUE_TIMEOUT = "queue_timeout"
    RUN_TIMEOUT = "run_timeout"


class StokerError(Exception):
    """Root of all errors of a job.

    Args:
        message: What went wrong and what to do about it. It may quote the caller's own field
            names, and reaches only the caller.
        details: JSON-safe facts for programs, such as the limit that was passed. `retryable` among
            them overrules what holds for most errors of the type.

    Attributes:
        type: The error's name on the wire.
        retryable: Whether the same job may succeed if it is submitted again unchanged.
    """

    type: ClassVar[ErrorType] = ErrorType.INTERNAL
    retryable: bool = False

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, dict(details or {}))
        if isinstance(self.details.get("retryable"), bool):
            self.retryable = self.details["retryable"]

    @property
    def message(self) -> str:
        """What went wrong and what to do about it."""
        return str(self.args[0])

    @property
    def details(self) -> dict[str, Any]:
        """JSON-safe facts for programs."""
        return dict(self.args[1])

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        # Celery writes an exception's repr to logs and events, where a caller's words must not go.
        return f"{type(self).__name__}()"


class InvalidInput(StokerError):
    """The job's inputs or parameters are not what its task takes."""

    type = ErrorType.INVALID_INPUT


class TooLarge(StokerError):
    """A payload is over a limit of the deployment."""

    type = ErrorType.TOO_LARGE


class UnknownTask(StokerError):
    """No task has this name."""

    type = ErrorType.UNKNOWN_TASK


class UnknownModel(StokerError):
    """The model's files were found neither on disk nor on the hub."""

    type = ErrorType.UNKNOWN_MODEL


class ModelNotAllowed(StokerError):
    """The pool serves a fixed list of models, and this is not one of them."""

    type = ErrorType.MODEL_NOT_ALLOWED


class Unserved(StokerError):
    """No worker serves the pool, or none in it serves the task."""

    type = ErrorType.UNSERVED
    retryable = True


class QueueFull(StokerError):
    """As many jobs of the pool, or of the tenant, wait as may, or as Redis has memory for."""

    type = ErrorType.QUEUE_FULL
    retryable = True


class IdempotencyConflict(StokerError):
    """The idempotency key stands for another request."""

    type = ErrorType.IDEMPOTENCY_CONFLICT


class InputFetchFailed(StokerError):
    """An input that the message only names could not be had."""

    type = ErrorType.INPUT_FETCH_FAILED


class Gone(StokerError):
    """The job ended, and what is asked for has expired since or was deleted."""

    type = ErrorType.GONE


class NoUrl(StokerError):
    """An artifact is kept where no URL leads to."""

    type = ErrorType.NO_URL


class ModelLoadFailed(StokerError):
    """The model's files were found, but could not be loaded."""

    type = ErrorType.MODEL_LOAD_FAILED


class OutOfMemory(StokerError):
    """The job does not fit into memory, even alone: the device's, or that in which it is read."""

    type = ErrorType.OUT_OF_MEMORY


class StorageUnavailable(StokerError):
    """The store of artifacts and large outputs does not answer, or refuses."""

    type = ErrorType.STORAGE_UNAVAILABLE
    retryable = True


class ResultsElsewhere(StokerError):
    """The workers store results on another server than the one where the producer looks."""

    type = ErrorType.RESULTS_ELSEWHERE


class Poison(StokerError):
    """Each time the job was started, its worker died; it is not started again."""

    type = ErrorType.POISON


class Internal(StokerError):
    """Something failed that is neither the caller's nor the model's fault."""

    type = ErrorType.INTERNAL
    retryable = True


class Canceled(StokerError):
    """The job was canceled before it finished."""

    type = ErrorType.CANCELED


class Expired(StokerError):
    """The job's deadline passed, or its time ran out before it was started."""

    type = ErrorType.EXPIRED


class QueueTimeout(StokerError):
    """The job was not started within its queue_timeout."""

    type = ErrorType.QUEUE_TIMEOUT
    retryable = True


class RunTimeout(StokerError):
    """The job was started, and not finished within its run_timeout."""

    type = ErrorType.RUN_TIMEOUT


def by_type(error_type: str) -> type[StokerError]:
    """Find the class of an error by its name on the wire.

    Args:
        error_type: A value of `ErrorType`.

    Returns:
        The class; `Internal` for a name that this version does not know.
    """
    for cls in StokerError.__subclasses__():
        if cls.type == error_type:
            return cls
    return Internal
