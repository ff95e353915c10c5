"""How large a job may be, before anything is spent on it: inputs, texts and how deep they nest.

Only what can be told without reading a file stands here: a producer asks it before it sends a job,
a worker before it prepares one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from stoker_tasks.errors import InvalidInput, TooLarge
from stoker_tasks.job import Job
from stoker_tasks.media import Media

# No task has inputs or parameters that come near these.
DEPTH: Final = 32
VALUES: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a deployment takes of one job.

    Attributes:
        items: Inputs in a list.
        text: Characters of all its texts together.
        files: Bytes of all files together that it only names.
    """

    items: int = 10_000
    text: int = 4 * 1024 * 1024
    files: int = 128 * 1024 * 1024


def check(job: Job, limits: Limits) -> None:
    """Refuse a job that is larger than it may be.

    Raises:
        TooLarge: It has too many inputs or values, or too much text.
        InvalidInput: It nests too deep.
    """
    plain = isinstance(job.inputs, str) and not job.parameters.model_fields_set
    if plain and len(job.inputs) <= limits.text:
        return  # most jobs, and a producer sends thousands a second
    if isinstance(job.inputs, list) and len(job.inputs) > limits.items:
        raise TooLarge(
            f"{job.task}: {len(job.inputs)} inputs in one job are more than {limits.items} "
            "(STOKER_MAX_ITEMS): send several jobs",
            {"items": len(job.inputs), "limit": limits.items},
        )
    text = values = 0
    waiting: list[tuple[Any, int]] = [(job.inputs, 1), (job.parameters, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            text += len(value)
            if text > limits.text:
                raise TooLarge(
                    f"{job.task}: the job's texts have more than {limits.text} characters together "
                    "(STOKER_MAX_TEXT): send shorter ones, or several jobs",
                    {"limit": limits.text},
                )
            continue
        parts = _parts(value)
        if parts is None:
            continue
        if depth > DEPTH:
            raise InvalidInput(
                f"{job.task}: the job nests deeper than {DEPTH} levels: no task takes that",
                {"limit": DEPTH},
            )
        before = len(waiting)
        waiting += [(part, depth + 1) for part in parts]
        values += len(waiting) - before
        if values > VALUES:
            raise TooLarge(
                f"{job.task}: the job has more than {VALUES} values: send several jobs",
                {"limit": VALUES},
            )


def _parts(value: Any) -> Iterable[Any] | None:
    """Give what a value is made of; None if it has no parts, or is a file."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Mapping):
        return [*value, *value.values()]
    if isinstance(value, BaseModel) and not isinstance(value, Media):
        given = {**value.__dict__, **(value.model_extra or {})}
        return [given[name] for name in value.model_fields_set]
    return None
