"""Celery's record of a delivery, without a caller's words in anything that is shown.

What a job was given and gave is for its caller. Events, inspect replies and log lines are for
everyone who can reach the broker: they carry names, times and types only.
"""

from collections.abc import Mapping
from typing import Any, Final

from celery.app.task import Context
from celery.worker import state
from celery.worker.request import Request

from stoker_tasks.event import listener_of
from stoker_tasks.wire import HIDDEN, STARTS_HEADER, SUBMITTED_HEADER
from stoker_workers.broker.kept import keep_messages

# Under this name a job's times travel to the backend, in Celery's context of its task.
TIMES: Final = "stoker_times"

# Under this name a listener travels to the backend, in Celery's context of its task.
LISTENER: Final = "stoker_listener"

# What Celery's Context leaves out of the headers that it calls custom, and what never travels.
_NOT_CUSTOM: Final = frozenset(
    {*Context.__dict__, "lang", "task", "argsrepr", "kwargsrepr", "compression"} | {TIMES, LISTENER}
)


class PrivateRequest(Request):
    """A request whose arguments, result and errors are hidden wherever Celery shows them.

    Attributes:
        listener: Who is to be told of the job.
        discard: Whether the job was revoked with `terminate=True` while it ran.
        ended: Whether this delivery ends: what it came to is stored, or is about to be.
        submitted_at: When it was submitted, in seconds since the epoch by the server's clock.
        started_at: When its first forward pass began; None if none has.
        starts: How many earlier deliveries of it were started.
        links: What its message says of its job's successors.
    """

    discard = False
    ended = False
    submitted_at: Any = None
    started_at: float | None = None
    starts = 0

    def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(message, *args, **kwargs)
        self.links = (kwargs["body"] if kwargs.get("decoded") else message.payload)[2]
        headers = self._request_dict
        # A stock producer's message carries the repr of its arguments.
        self._argsrepr = self._kwargsrepr = HIDDEN
        headers["argsrepr"] = headers["kwargsrepr"] = HIDDEN
        # From here it reaches whatever stores a state of this job: the tracer, or a revoke.
        self.listener = listener_of(self.kwargs, headers)
        if self.listener is not None:
            headers[LISTENER] = self.listener
        self.submitted_at = headers.get(SUBMITTED_HEADER)
        starts = headers.get(STARTS_HEADER)
        if isinstance(starts, int):
            self.starts = starts
            # It is run again on purpose: what revoked it before counts no more.
            if not self.delivery_info.get("redelivered"):
                state.revoked.discard(self.id)

    def times(self) -> dict[str, Any]:
        """Say when the job passed from one state to the next, for whoever reads its result."""
        return {
            "queued_at": self.submitted_at,
            "started_at": self.started_at,
            "attempts": self.starts + (self.started_at is not None),
        }

    def _announce_revoked(self, *args: Any) -> None:
        """Conclude a job that was revoked, or was too late to be started."""
        seconds = self.task.retention.of(self.kwargs.get("retention"))
        setattr(self._context, TIMES, self.times())
        backend = self.task.backend
        with backend.keeping({self.id: seconds}):
            super()._announce_revoked(*args)
        # A canceled job has its end already: whoever put it back before this one is stored again
        # would find it ended.
        keep_messages(backend.broker, [(self, seconds)])

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Discard the result of a running job; it shares its forward pass, which goes on."""
        self.discard = True
        state.revoked.add(self.id)

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Describe the request for `inspect`."""
        return {**super().info(safe=True), "args": HIDDEN, "kwargs": HIDDEN}

    def heard(self) -> bool:
        """Tell whether an event of this request would be sent."""
        eventer = self._eventer
        return bool(eventer and eventer.enabled and self.task.send_events and eventer.hears())

    def send_event(self, type: str, **fields: Any) -> None:
        """Send a task event; of an exception it tells the class only."""
        if not self.heard():
            return
        if "exception" in fields:
            fields["exception"] = str(fields["exception"]).partition("(")[0] + "()"
        if "traceback" in fields:
            fields["traceback"] = ""
        super().send_event(type, **fields)


def custom_headers(context: Mapping[str, Any]) -> dict[str, Any]:
    """Give those headers of a message that are not Celery's own: `Task.request.headers`.

    Args:
        context: All of the message's headers.
    """
    return {name: value for name, value in context.items() if name not in _NOT_CUSTOM}


def hide_arguments(headers: dict[str, Any], **_: Any) -> None:
    """Hide what a message of this worker's says of its arguments: those of a chain's next link.

    A receiver of Celery's signal `before_task_publish`.
    """
    headers.update(argsrepr=HIDDEN, kwargsrepr=HIDDEN)
