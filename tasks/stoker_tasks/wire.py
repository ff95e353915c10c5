"""How a job travels: the names, keyword arguments and headers of its Celery message.

A job is an ordinary Celery message. `to_kwargs` is what a Stoker producer sends; `read_job` reads
what any producer sent, checking it again.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from stoker_tasks.catalog import CATALOG, find, implied_parameters
from stoker_tasks.describe import fields_of
from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job, Priority
from stoker_tasks.spec import TaskSpec

TASK_PREFIX: Final = "stoker."
DEFAULT_POOL: Final = "default"
CONTRACT_HEADER: Final = "stoker-contract"
CONTRACT: Final = 1
# Seconds since the epoch, by the producer's clock: from here the job's time in the queue counts.
SUBMITTED_HEADER: Final = "stoker-submitted"
# What an idempotency key is kept as: its digest.
IDEMPOTENCY_HEADER: Final = "stoker-idempotency"
# The tenant among whose jobs this one counts until it ends; only where their number is bounded.
COUNTED_HEADER: Final = "stoker-counted"
# How many deliveries of a job were started before it was run again by hand.
STARTS_HEADER: Final = "stoker-starts"
CLAIM_FIELD: Final = "claim"
# For the reprs that Celery shows in events and replies; they must not quote a caller's inputs.
HIDDEN: Final = "(…)"

# Celery's priorities on Redis: 0 is served first.
PRIORITIES: Final[Mapping[Priority, int]] = {"high": 0, "normal": 3, "low": 6}

# These travel otherwise: as the message's priority, its parameters as far as given, a header.
_NOT_SENT: Final = {"priority", "parameters", "idempotency_key"}

# How many of a job's faults an error lists.
_LISTED: Final = 10

_POOL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RESULT_KEYS = frozenset({"output", "artifacts", "task", "model", "timing", "metadata"})


def celery_name(task: str) -> str:
    """Give the Celery task name of a task: `stoker.text_classification`."""
    return TASK_PREFIX + task.replace("-", "_")


def task_name(celery_task: str) -> str:
    """Give the task of a Celery task name."""
    return celery_task.removeprefix(TASK_PREFIX).replace("_", "-")


def queue_name(pool: str) -> str:
    """Give the queue of a pool: `stoker` for the default pool, else `stoker.NAME`.

    Raises:
        InvalidInput: The name is not made of lower-case letters, digits, `-` and `_`.
    """
    if not _POOL_NAME.fullmatch(pool):
        raise InvalidInput(
            f"pool {pool[:64]!r}: a pool's name has lower-case letters, digits, - and _, up to 63",
            {"pool": pool[:64]},
        )
    return "stoker" if pool == DEFAULT_POOL else f"stoker.{pool}"


def pool_name(queue: str) -> str:
    """Give the pool of a queue; the opposite of `queue_name`."""
    return DEFAULT_POOL if queue == "stoker" else queue.removeprefix("stoker.")


def to_kwargs(job: Job) -> dict[str, Any]:
    """Give the keyword arguments of a job's message, JSON-safe and without what is not set."""
    # What is not set is a default; to compare each with its own takes most of the time.
    kwargs = job.model_dump(
        mode="json", exclude=_NOT_SENT, exclude_unset=True, exclude_defaults=True
    )
    parameters = job.parameters.given() if job.parameters.model_fields_set else {}
    return {**kwargs, "parameters": parameters} if parameters else kwargs


def make_job(task: str, fields: Mapping[str, Any]) -> Job:
    """Make the typed job of a task from plain fields.

    Args:
        task: The task's name or an alias of it.
        fields: The job's fields: `inputs`, `model`, `parameters` …

    Raises:
        UnknownTask: No task has this name.
        InvalidInput: A field or parameter is unknown, missing or of a wrong type. The message
            names it and what is allowed, and quotes no value.
    """
    spec, fields = find(task), dict(fields)
    implied, given = implied_parameters(task), fields.get("parameters") or {}
    if implied and isinstance(given, Mapping):
        fields["parameters"] = {**implied, **given}
    try:
        return spec.job.model_validate(fields)
    except ValidationError as error:
        raise _explain(spec, error) from None


def read_job(celery_task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Job:
    """Make the typed job of a Celery message's arguments.

    One positional argument stands for `inputs`, so that a task can be the next link of a chain:
    a string, the result of another job (its hand-over), or a list of these (a chord's body).

    Raises:
        UnknownTask: No task has this name.
        InvalidInput: As for `make_job`; or there are several positional arguments, or both a
            positional one and `inputs`.
    """
    task = task_name(celery_task)
    fields = dict(kwargs)
    if args:
        if len(args) > 1:
            raise InvalidInput(
                f"{celery_task} takes one positional argument, the inputs; {len(args)} were given"
            )
        if "inputs" in fields:
            raise InvalidInput(f"{celery_task} takes a positional argument or inputs=, not both")
        fields["inputs"] = _from_position(task, args[0])
    if "idempotency_key" in fields:
        raise InvalidInput(
            "idempotency_key is kept when a job is submitted, by Stoker's client; in the message "
            "of a stock Celery producer it would do nothing: leave it out"
        )
    return make_job(task, fields)


def _from_position(task: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_from_position(task, one) for one in value]
    # A later version may tell more of a result.
    if isinstance(value, dict) and value.keys() >= _RESULT_KEYS:
        return _hand_over(task, value)
    return value


def _hand_over(task: str, result: Mapping[str, Any]) -> Any:
    before = CATALOG.get(str(result["task"]))
    name = before.name if before else "an unknown task"
    refusal = InvalidInput(
        f"{name} has nothing to hand over to {task}: put a task of your own between the two that "
        f"picks what {task} takes",
        {"from": name, "to": task},
    )
    if before is None or before.hand_over is None:
        raise refusal
    try:
        return before.hand_over(result["output"])
    except (KeyError, IndexError, TypeError, ValueError):
        raise refusal from None


def _explain(spec: TaskSpec, error: ValidationError) -> InvalidInput:
    """Say what is wrong by field, with what is allowed, and without any of the caller's values."""
    problems: dict[str, str] = {}
    all_found = error.errors(include_input=False, include_url=False, include_context=False)
    # Of all that an input may be and is not, our own validators tell best what is wrong with it.
    for found in sorted(all_found, key=lambda each: each["type"] != "value_error"):
        loc = [f"{part}" for part in found["loc"]] or ["job"]
        where, what = _problem(spec, loc, found["type"], found["msg"])
        problems.setdefault(where[:80], what)
    listed = "; ".join(f"{where}: {problems[where]}" for where in list(problems)[:_LISTED])
    if len(problems) > _LISTED:
        listed += f"; and {len(problems) - _LISTED} more"
    details = {"task": spec.name, "fields": list(problems)[:_LISTED]}
    return InvalidInput(f"{spec.name}: {listed}", details)


def _problem(spec: TaskSpec, loc: Sequence[str], kind: str, msg: str) -> tuple[str, str]:
    """Name the field at a place in a job, and say what it takes."""
    if loc[0] == "inputs":
        # What our own validators say quotes nothing.
        why = f" ({msg.removeprefix('Value error, ')})" if kind == "value_error" else ""
        return "inputs", f"must be {spec.inputs}{why}"
    model: type[BaseModel] | None = spec.job
    owner, takes = "a job", msg
    walked: list[str] = []
    for part in loc:
        if model is None or part not in model.model_fields:
            break
        walked.append(part)
        takes = _takes(model).get(part, msg)
        owner = spec.name if walked == ["parameters"] else part
        model = _nested(model.model_fields[part].annotation)
    if kind == "extra_forbidden" and model is not None:
        noun = "component" if walked == ["components"] else "parameter" if walked else "field"
        names = model.model_fields if model is spec.job else sorted(model.model_fields)
        verb = "has" if model is spec.job else "takes"
        known = ", ".join(names) or "none"
        fault = f"unknown {noun}"
        if walked == ["parameters"] and loc[-1] in spec.left_out:
            fault = f"is not taken: {spec.left_out[loc[-1]]}"
        return ".".join(loc), f"{fault}; {owner} {verb} {known}"
    if kind == "value_error":
        # Of our own validators, which quote no value.
        takes = msg.removeprefix("Value error, ")
    return ".".join(walked) or loc[0], "is required" if kind == "missing" else takes


@cache
def _takes(model: type[BaseModel]) -> Mapping[str, str]:
    words = {field.name: field.type for field in fields_of(model)}
    return {name: f"takes {type}" for name, type in words.items() if type != "object"}


def _nested(annotation: Any) -> type[BaseModel] | None:
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None
