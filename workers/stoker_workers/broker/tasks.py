"""One Celery task for each pipeline task; its `run` hands back an outcome that is already there.

The engine computes outcomes by the batch. Celery's own tracer is then run for each job, so that
links, chains, chords, errbacks, retries and signals are Celery's code and not a copy of it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery import Celery, Task

from stoker_config.retention import Retention
from stoker_tasks.catalog import ALIASES, CATALOG
from stoker_tasks.errors import Internal, StokerError
from stoker_tasks.result import Success
from stoker_tasks.wire import celery_name
from stoker_workers.engine.delivery import Outcome

_MS: Final = 1000.0

_current = threading.local()


class Returned:
    """A success as Celery's tracer sees it: it is stored whole and shown as model and batch only.

    Args:
        success: The job's result.
    """

    __slots__ = ("_success",)

    def __init__(self, success: Success) -> None:
        self._success = success

    @property
    def runtime(self) -> float:
        """The seconds for which a worker had the job at hand."""
        timing = self._success.timing
        spent = timing.preprocess_ms + timing.ready_ms + timing.forward_ms + timing.postprocess_ms
        return spent / _MS

    def __json__(self) -> dict[str, Any]:
        """Give what is stored; kombu's JSON encoder calls this."""
        return self._success.to_wire()

    def to_text(self) -> str:
        """Give the same as JSON; see `Success.to_text`."""
        return self._success.to_text()

    def __repr__(self) -> str:
        timing = self._success.timing
        return f"<{self._success.model}, batch {timing.batch} of {timing.batch_size}>"


class PipelineTask(Task):
    """The Celery task of one pipeline task.

    Attributes:
        retention: For how long the results of its jobs are kept.
    """

    abstract = True
    retention: Retention
    Request = "stoker_workers.broker.request:PrivateRequest"
    Strategy = "stoker_workers.broker.strategy:JobStrategy"
    acks_late = True
    # The arguments are checked by the task's spec, with better messages.
    typing = False
    throws = (StokerError,)

    def run(self, *args: Any, **kwargs: Any) -> Returned:
        """Give the outcome of the job that `outcome` announced.

        Raises:
            StokerError: The job failed; or the task was called outside a worker's engine.
        """
        outcome = getattr(_current, "outcome", None)
        if isinstance(outcome, Success):
            return Returned(outcome)
        if isinstance(outcome, StokerError):
            raise outcome
        raise Internal(f"{self.name} runs in a worker only: submit it instead of calling it")


@contextmanager
def outcome(value: Outcome) -> Iterator[None]:
    """Let `run` give this outcome while the context lasts, in this thread."""
    _current.outcome = value
    try:
        yield
    finally:
        _current.outcome = None
        if isinstance(value, BaseException):
            # `run` has raised it: the frames of its traceback have a whole batch at hand.
            value.__traceback__ = None


def register(app: Celery, retention: Retention) -> None:
    """Register the Celery task of every task in the catalog, and of every alias.

    Args:
        app: The worker's app.
        retention: For how long results are kept.
    """
    for task in (*CATALOG, *ALIASES):
        name = celery_name(task)
        cls = type(
            f"{name.title().replace('_', '').replace('.', '')}Task",
            (PipelineTask,),
            {
                "name": name,
                "__module__": __name__,
                "retention": retention,
            },
        )
        app.register_task(cls())
