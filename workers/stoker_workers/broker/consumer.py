"""Celery's consumer, with an answer for each message that cannot become a job.

Celery drops such a message, logs its whole body and stores at most the name of an unknown task.
Here its caller gets a typed error, its chord and its errbacks are told, no word of it is logged,
and none of it can end the worker.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

from celery import signals
from celery.app.task import Context
from celery.exceptions import NotRegistered
from celery.worker.consumer import Consumer
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.utils.url import maybe_sanitize_url

from stoker_tasks.catalog import find, implied_parameters
from stoker_tasks.errors import Internal, InvalidInput, StokerError, UnknownTask
from stoker_tasks.event import listener_of
from stoker_tasks.wire import COUNTED_HEADER, HIDDEN, TASK_PREFIX, celery_name, task_name
from stoker_workers.broker.prefetch import Prefetch
from stoker_workers.broker.request import LISTENER
from stoker_workers.broker.strategy import JobStrategy
from stoker_workers.engine.faults import log_fault

logger = logging.getLogger(__name__)

# What a message's body is made of: positional arguments, keyword arguments, and links.
_BODIES: Final = ([list, dict, dict], [list, dict, type(None)])
# The headers that are sent to Redis, together with those of other jobs.
_SENT: Final = ("id", COUNTED_HEADER)
# What a log line shows of a name that a producer made up.
_SHOWN: Final = 80


class _Strategies(dict[str, Any]):
    """What is done with a message, by its task's name, which may imply parameters."""

    def __missing__(self, name: str) -> Any:
        if name.startswith(TASK_PREFIX) and implied_parameters(task_name(name)):
            return self[celery_name(find(task_name(name)).name)]
        raise KeyError(name)


class JobConsumer(Consumer):
    """A consumer that refuses what it cannot take, and says so to whoever waits for it."""

    Strategies = _Strategies
    qos: Any

    def connect(self) -> Any:
        """Connect to the broker; what `inspect stats` tells of it bears no password."""
        connection = super().connect()
        told = connection.info
        connection.info = lambda: _without_secrets(told())
        return connection

    def loop_args(self) -> Any:
        """Give what the event loop is run with, before any message is counted."""
        made = self.qos
        self.qos = Prefetch(made.callback, made.value, made.max_prefetch)
        return super().loop_args()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Give the function that takes each message."""
        take = super().create_task_handler(*args, **kwargs)

        def on_message(message: Any) -> None:
            try:
                if not _check(message) or not self._take(message):
                    take(message)
            except self.connection_errors:
                raise
            except StokerError as error:
                self._refuse(message, error)
            except Exception as error:  # noqa: BLE001 - a message must not end the worker
                log_fault(logger, "a message could not be taken in", error)
                self._refuse(message, Internal(f"not taken in: {type(error).__name__}"))

        return on_message

    def _take(self, message: Any) -> bool:
        """Take a job's message in, if that takes nothing but running it."""
        strategy = self.strategies.get(message.headers["task"])
        return isinstance(strategy, JobStrategy) and strategy.take(message)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Refuse a message whose body cannot be read."""
        self._refuse(message, _unreadable(message, exc))

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Refuse a message that is none of Celery's."""
        self._refuse(message, InvalidInput("the message names no task"))

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Refuse a task that no worker of this kind knows."""
        name = str(_headers(message).get("task"))
        if not name.startswith(TASK_PREFIX):
            self._refuse(message, NotRegistered(name))
            return
        try:
            find(task_name(name))
        except UnknownTask as error:
            self._refuse(message, error)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Refuse a message with headers or a body that make no task."""
        self._refuse(message, _unreadable(message, exc))

    def _refuse(self, message: Any, error: Exception) -> None:
        headers = _headers(message)
        job_id, name = headers.get("id"), headers.get("task")
        kind = type(error).__name__
        logger.warning("refused %.*r [%.*r]: %s", _SHOWN, name, _SHOWN, job_id, kind)
        if isinstance(job_id, str) and _encodes(job_id) and not message.acknowledged:
            if not self._fail(job_id, _context(message, headers), error):
                self._put_off(message)
                return
            if self.event_dispatcher:
                shown = {"args": HIDDEN, "kwargs": HIDDEN}
                self.event_dispatcher.send("task-received", uuid=job_id, name=str(name), **shown)
                self.event_dispatcher.send("task-failed", uuid=job_id, exception=f"{kind}()")
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=error)

    def _fail(self, job_id: str, context: Context, error: Exception) -> bool:
        """Store a refused job's failure; False if the server refuses that."""
        backend = self.app.backend
        try:
            backend.mark_as_failure(job_id, error, request=context)
        except self.connection_errors:
            raise
        except Exception as fault:  # noqa: BLE001 - its errbacks or its chord make no sense
            log_fault(logger, "a refused message's errbacks or chord failed", fault)
        else:
            return True
        try:
            backend.mark_as_failure(job_id, error)
        except self.connection_errors:
            raise
        except Exception as fault:  # noqa: BLE001 - such as a user who may not write
            log_fault(logger, "a refusal could not be stored; its message is given back", fault)
            return False
        return True

    def _put_off(self, message: Any) -> None:
        """Give a message back after a rest: what stands in the way of its end may be mended."""
        ledger = getattr(message.channel, "ledger", None)
        if ledger is not None:
            ledger.rest([message.delivery_tag])
        message.reject_log_error(logger, self.connection_errors, requeue=True)


def _without_secrets(told: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only a connection needs to know: passwords of servers and of sentinels."""
    options = told.get("transport_options") or {}
    return {
        **told,
        "hostname": maybe_sanitize_url(told["hostname"] or ""),
        "alternates": [maybe_sanitize_url(each) for each in told.get("alternates") or ()],
        "transport_options": {
            name: value for name, value in options.items() if name != "sentinel_kwargs"
        },
    }


def _check(message: Any) -> bool:
    """Refuse a body that Celery would trip over.

    Returns:
        Whether it is a task's message, of Celery's protocol 2.

    Raises:
        InvalidInput: It is not JSON, or not what Celery sends.
    """
    known = _headers(message)
    for name in _SENT:
        if not _encodes(known.get(name)):
            raise InvalidInput(f"the message's header {name} has half a surrogate pair")
    headers = message.headers
    if not isinstance(headers, dict) or "task" not in headers:
        return False  # a message of Celery 3, or none of Celery's: the consumer tells them apart
    if not isinstance(headers.get("id"), str):
        raise InvalidInput("the message's header id is not a string")
    try:
        body = message.payload
    except (ContentDisallowed, DecodeError) as error:
        raise _unreadable(message, error) from None
    if type(body) is not list or [*map(type, body)] not in _BODIES:
        raise InvalidInput("the message's body is not Celery's: a list of args, kwargs, options")
    return True


def _encodes(value: Any) -> bool:
    """Tell whether a header can be sent to Redis: half a surrogate pair cannot."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unreadable(message: Any, error: Exception) -> InvalidInput:
    if isinstance(error, ContentDisallowed):
        return InvalidInput(
            f"the message's content type is {str(message.content_type)[:_SHOWN]}, and this worker "
            "takes application/json only: set task_serializer to json",
        )
    if isinstance(error, DecodeError):
        return InvalidInput("the message's body is not JSON")
    return InvalidInput(f"the message is not one of Celery's: {error}")


def _headers(message: Any) -> dict[str, Any]:
    """Give a message's headers; those of Celery 3 stand in its body."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    if "task" in headers:
        return headers
    try:
        body = message.payload
    except (ContentDisallowed, DecodeError):
        return headers
    return body if isinstance(body, dict) and "task" in body else headers


def _context(message: Any, headers: dict[str, Any]) -> Context:
    """Describe the job as far as its message can be read, for all who are to be told."""
    known = {**headers, "delivery_info": message.delivery_info or {}}
    try:
        _, kwargs, embed = message.payload
        return Context({**known, **(embed or {}), LISTENER: listener_of(kwargs, headers)})
    except Exception:  # noqa: BLE001 - whatever the body is
        return Context(known)
