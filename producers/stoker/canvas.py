"""Celery signatures of jobs, for chains, groups and chords."""

from typing import Any

from stoker.outgoing import Outgoing, check_texts
from stoker_tasks.catalog import find
from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_tasks.wire import (
    CONTRACT,
    CONTRACT_HEADER,
    HIDDEN,
    PRIORITIES,
    celery_name,
    make_job,
    queue_name,
    to_kwargs,
)


def signature_of(
    app: Any, outgoing: Outgoing, job: Job | str, pool: str, fields: dict[str, Any]
) -> Any:
    """Make a signature; see `Client.signature`.

    Args:
        app: The Celery app that it is bound to.
        outgoing: Gets its job ready.
        job: A typed job, or a task's name.
        pool: The pool that is to run it.
        fields: The job's fields, where `job` is a name.
    """
    queue = queue_name(pool)
    if isinstance(job, str) and "inputs" in fields:
        job = make_job(job, fields)
    key = job.idempotency_key if isinstance(job, Job) else fields.get("idempotency_key")
    if key is not None:
        raise InvalidInput(
            "a signature may be sent many times, by Celery, which keeps no idempotency_key: "
            "leave it out"
        )
    if isinstance(job, Job):
        [packed] = outgoing.packed([job])
        kwargs, task, priority = packed.kwargs, job.task, job.priority
    else:
        kwargs, task = _without_inputs(job, fields), find(job).name
        outgoing.retention.checked(kwargs.get("retention"))
        priority = fields.get("priority", "normal")
    return app.signature(
        celery_name(task),
        kwargs=kwargs,
        queue=queue,
        priority=PRIORITIES[priority],
        argsrepr=HIDDEN,
        kwargsrepr=HIDDEN,
        headers={CONTRACT_HEADER: CONTRACT},
        # Whatever the app's default is: a worker takes nothing else.
        serializer="json",
    )


def _without_inputs(task: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Check the fields of a link that will be handed its inputs."""
    spec = find(task)
    job = make_job(task, {**fields, "inputs": spec.example["inputs"]})
    check_texts(job)
    kwargs = to_kwargs(job)
    del kwargs["inputs"]
    return kwargs
