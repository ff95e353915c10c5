"""Has Celery conclude jobs as it concludes its pool's: runs its tracer, and keeps its books.

`end_all` runs in the thread of the engine's that collects a batch's results. All else belongs in
the event loop's thread, as Celery's books and kombu's channels do.
"""

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.app.task import Context
from celery.exceptions import Reject
from celery.states import FAILURE
from celery.worker import state

from stoker_tasks.errors import Internal
from stoker_tasks.result import Success
from stoker_workers.broker import fast_lane
from stoker_workers.broker.ledger import ledger_of
from stoker_workers.broker.links import Unsent, is_away, is_followed
from stoker_workers.broker.request import TIMES, custom_headers
from stoker_workers.broker.tasks import Returned, outcome
from stoker_workers.engine.delivery import Delivery, Outcome
from stoker_workers.engine.faults import log_fault

logger = logging.getLogger(__name__)


def end_all(
    backend: Any, outcomes: Sequence[tuple[Delivery, Outcome]], quick: Collection[Any]
) -> tuple[list[tuple[Any, tuple[int, Any, float]]], list[Delivery]]:
    """End jobs, but for those whose links cannot be sent for now.

    Args:
        backend: The result backend, which collects.
        outcomes: What has become of each job.
        quick: The tasks to which the fast lane is open.

    Returns:
        Celery's request of each that has ended with what came of it, and those that have not.
    """
    ended: list[tuple[Any, tuple[int, Any, float]]] = []
    unsent: list[Delivery] = []
    for delivery, result in outcomes:
        # Each try takes a while, and the server is the same for all of them.
        if unsent and is_followed(delivery.handle):
            unsent.append(delivery)
            continue
        try:
            ended.append((delivery.handle, _end(backend, delivery.handle, result, quick)))
        except Unsent as reason:
            unsent.append(delivery)
            log_fault(logger, "links cannot be sent; their jobs are delivered again", reason.error)
    return ended, unsent


def _end(
    backend: Any, request: Any, result: Outcome, quick: Collection[Any]
) -> tuple[int, Any, float]:
    """End one job: by Celery's tracer, unless that has nothing to do but store the result.

    Args:
        backend: The result backend, which collects.
        request: Celery's request of the job's delivery.
        result: What has become of the job.
        quick: The tasks to which the fast lane is open.

    Returns:
        What `conclude` takes, and Celery's `on_success`: whether it failed, what it came to, and
        the seconds it took.

    Raises:
        Unsent: The server was away when its links were to be sent; nothing of the job is collected.
    """
    if request.task in quick and fast_lane.is_plain(request, result):
        assert isinstance(result, Success)
        returned = Returned(result)
        if fast_lane.complete(backend, request, returned):
            return 0, returned, 0.0
    with backend.whole():
        return _trace(request, result)


def _trace(request: Any, result: Outcome) -> tuple[int, Any, float]:
    """Run Celery's tracer for one job, and let no job's message harm the others."""
    try:
        return _run_tracer(request, result)
    except Exception as error:  # noqa: BLE001 - a link, an errback or a chord makes no sense
        if is_away(error):
            raise Unsent(error) from None
        log_fault(logger, "Celery's tracer failed", error)
        failure = Internal(f"the job's links could not be followed: {type(error).__name__}")
        context = Context(request.request_dict)
        request.task.backend.store_result(request.id, failure, FAILURE, request=context)
        return 1, _as_raised(failure), 0.0


def _as_raised(failure: Internal) -> ExceptionInfo:
    try:
        raise failure
    except Internal:
        return ExceptionInfo()
    finally:
        failure.__traceback__ = None


def _run_tracer(request: Any, result: Outcome) -> tuple[int, Any, float]:
    """Run Celery's tracer as its pool would."""
    args, kwargs = request.args, request.kwargs
    context = request.request_dict
    # Where it is given none, not even an empty one, Celery looks for them among all it knows: that
    # takes longer than anything else it does, and shows receivers of signals what is Stoker's own.
    context["headers"] = custom_headers(context)
    context.update(
        {"args": args, "kwargs": kwargs, "hostname": request.hostname, "is_eager": False},
        **{TIMES: request.times()},
        **request.links or {},
    )
    with outcome(result):
        try:
            returned, info, _, shown = request.task.__trace__(request.id, args, kwargs, context)
        except Reject as reject:
            return 1, reject, 0.0
    runtime = Returned(result).runtime if isinstance(result, Success) else 0.0
    return (1, returned, 0.0) if info else (0, shown, runtime)


def note_started(deliveries: Sequence[Delivery], now: float) -> None:
    """Have Celery note that these run.

    Args:
        deliveries: The deliveries.
        now: When they were started, in seconds since the epoch by this machine's clock.
    """
    pid = os.getpid()
    for delivery in deliveries:
        request = delivery.handle
        request.worker_pid, request.time_start = pid, now
        state.task_accepted(request, add_to_total_count=_count)
        request.send_event("task-started")


def _count(names: Mapping[str, int]) -> None:
    """Count tasks as Celery does, whose `Counter.update` finds out first what it was given."""
    for name, number in names.items():
        state.total_count[name] += number


def conclude(ended: Sequence[tuple[Any, tuple[int, Any, float]]]) -> None:
    """Have Celery forget jobs that have ended, and acknowledge those that storing did not.

    Args:
        ended: Celery's request of each delivery with what came of it: see `end_all`.
    """
    for request, outcome_ in ended:
        _guarded(_conclude_one, request, *outcome_)


def _conclude_one(request: Any, failed: int, value: Any, runtime: float) -> None:
    if isinstance(value, Reject):
        state.task_ready(request)
        request.reject(requeue=value.requeue)
    elif isinstance(value, Returned):
        fast_lane.conclude(request, value)
    else:
        request.on_success((failed, value, runtime))


def give_back(deliveries: Sequence[Delivery]) -> None:
    """Have Celery forget deliveries that could not be ended, and give them back after a rest.

    Args:
        deliveries: The deliveries.
    """
    for delivery in deliveries:
        request = delivery.handle
        state.task_ready(request)
        if (ledger := ledger_of(request)) is not None:
            ledger.rest([request.message.delivery_tag])
        _guarded(_reject, request)


def conclude_revoked(deliveries: Sequence[Delivery]) -> None:
    """Have Celery conclude these as revoked.

    Args:
        deliveries: The deliveries.
    """
    for delivery in deliveries:
        _guarded(_revoke_one, delivery.handle)


def _reject(request: Any) -> None:
    request.reject(requeue=True)


def _revoke_one(request: Any) -> None:
    if not request.revoked():
        state.revoked.add(request.id)
        request.revoked()


def _guarded(step: Callable[..., None], request: Any, *args: Any) -> None:
    """Take one request's last step; if it fails, the request goes back and the others go on."""
    try:
        step(request, *args)
    except Exception as error:  # noqa: BLE001 - most likely the server is away
        log_fault(logger, "a job could not be concluded; it is delivered again", error)
        ledger = ledger_of(request)
        if ledger is not None:
            ledger.give_back_soon([request.message.delivery_tag])
