"""The fast lane: stores a plain job's success as Celery's tracer would, without running the tracer.

For a job without links that is delivered for the first time, the tracer does nothing but store the
result, which takes it a third of what a worker spends on a job beside its forward pass. Whatever
could make it do more closes the lane: a signal that somebody listens to; a task, a loader or a
tracer that was changed, as by an agent that watches the process. What fails is always traced.
"""

import logging
from collections.abc import Collection, Iterable
from typing import Any, Final

from celery import signals
from celery.app import task, trace
from celery.loaders.base import BaseLoader
from celery.utils.saferepr import saferepr
from celery.worker import state

from stoker_tasks.result import Success
from stoker_workers.broker.backend import CollectingBackend
from stoker_workers.broker.links import is_away, is_followed
from stoker_workers.broker.tasks import PipelineTask, Returned
from stoker_workers.engine.delivery import Outcome

_SIGNALS: Final = (signals.task_prerun, signals.task_postrun, signals.task_success)
_OF_TASKS: Final = ("before_start", "on_success", "after_return")
_OF_LOADERS: Final = ("on_task_init", "on_process_cleanup")
# Among these is the code of Celery's own tracers: one that was replaced or wrapped has another.
_TRACERS: Final = trace.build_tracer.__code__.co_consts
# Where the code of `Task.__call__` is, which a worker of Celery's replaces by its own.
_CALLS: Final = {task.__file__, trace.__file__}


def open_to(tasks: Iterable[Any]) -> Collection[Any]:
    """Pick the tasks whose tracer is Celery's own, and calls nobody.

    Args:
        tasks: Celery tasks.
    """
    if any(signal.receivers for signal in _SIGNALS):
        return ()
    return {each for each in tasks if _is_unchanged(each)}


def is_plain(request: Any, outcome: Outcome) -> bool:
    """Tell whether a job's end is to be stored, and nothing else is to come of it.

    Args:
        request: Celery's request of the job's delivery.
        outcome: What has become of the job.
    """
    headers = request.request_dict
    return (
        isinstance(outcome, Success)
        and not is_followed(request)
        and request.listener is None
        and not request.ignore_result
        and not request.delivery_info["redelivered"]
        and not headers.get("group")
        and not headers.get("retries")
    )


def complete(backend: Any, request: Any, returned: Returned) -> bool:
    """Store a plain job's success.

    Args:
        backend: The result backend, which collects.
        request: Celery's request of the job's delivery.
        returned: The job's success.

    Returns:
        Whether it can be stored; if not, the tracer is to tell.
    """
    try:
        if not backend.store_success(request, returned):
            return False
    except Exception as error:  # whatever else it is, the tracer meets it as well, and tells it
        if is_away(error):
            raise
        return False
    if trace.logger.isEnabledFor(logging.INFO):
        told = {
            "id": request.id,
            "name": request.name,
            "return_value": _shown(request, returned),
            "runtime": returned.runtime,
            "args": request.argsrepr,
            "kwargs": request.kwargsrepr,
        }
        trace.info(trace.LOG_SUCCESS, told)
    return True


def conclude(request: Any, returned: Returned) -> None:
    """Have Celery forget a job that `complete` has stored, and tell whoever listens.

    What `on_success` does. It also notes whom a worker that deduplicates need not run again.

    Args:
        request: Celery's request of the job's delivery.
        returned: The job's success.
    """
    state.task_ready(request)
    request.acknowledge()
    if request.heard():
        shown = _shown(request, returned)
        request.send_event("task-succeeded", result=shown, runtime=returned.runtime)


def _shown(request: Any, returned: Returned) -> str:
    text: str = saferepr(returned, request.task.resultrepr_maxsize)
    return text


def _is_unchanged(of: Any) -> bool:
    loader = type(of.app.loader)
    return (
        getattr(of.__trace__, "__code__", None) in _TRACERS
        and getattr(of.run, "__func__", None) is PipelineTask.run
        and type(of).__call__.__code__.co_filename in _CALLS
        and not any(trace.task_has_custom(of, name) for name in _OF_TASKS)
        and all(getattr(loader, name) is getattr(BaseLoader, name) for name in _OF_LOADERS)
        and not of.track_started
        and not of.ignore_result
        and not of.app.conf.worker_deduplicate_successful_tasks
        and type(of.backend) is CollectingBackend
        and of.backend.plain
    )
