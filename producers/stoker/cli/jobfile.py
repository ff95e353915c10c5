"""Reads jobs from where a person keeps them: the command line, a file, or lines of JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker_tasks.describe import takes_media
from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_tasks.result import Failure
from stoker_tasks.spec import TaskSpec
from stoker_tasks.wire import make_job


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a file of jobs.

    Attributes:
        number: Its number, from 1.
        job: The job; or why it is none.
    """

    number: int
    job: Job | Failure


def read_parameters(given: Sequence[str]) -> dict[str, Any]:
    """Read parameters of the form `name=value`.

    Args:
        given: The values are JSON; what is not JSON is a string.

    Raises:
        InvalidInput: One has no `=`.
    """
    parameters: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--param {each!r}: write name=value, such as top_k=3")
        try:
            parameters[name] = _json(value)
        except ValueError:
            parameters[name] = value
    return parameters


def read_inputs(spec: TaskSpec, given: str) -> Any:
    """Read the inputs of one job from the command line.

    Args:
        spec: The job's task.
        given: A text; for a task that takes a file, `@` and the file's path, or its URL.

    Raises:
        InvalidInput: The task takes a file, and none is named or it cannot be read.
    """
    if not takes_media(spec):
        return given
    if given.startswith(("https://", "http://", "s3://")):
        return {"url": given}
    if not given.startswith("@"):
        raise InvalidInput(f"{spec.name} takes a file: --inputs @PATH, or its URL")
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        raise InvalidInput(f"--inputs {given}: {error.strerror}") from None


def read_lines(lines: Iterable[bytes], spec: TaskSpec, common: Mapping[str, Any]) -> Iterator[Line]:
    """Read one job a line.

    Args:
        lines: Each a JSON object of a job's fields; empty ones are left out.
        spec: The jobs' task.
        common: Fields of all jobs; a line's own fields and parameters win.

    Yields:
        Each line's job, or why it is none.
    """
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            job: Job | Failure = make_job(spec.name, merged(common, _fields(raw)))
        except InvalidInput as error:
            job = Failure.of(InvalidInput(f"line {number}: {error.message}", error.details))
        yield Line(number=number, job=job)


def merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Put a job's own fields and parameters over those that are common to many jobs."""
    fields = {**common, **own}
    before, after = common.get("parameters"), own.get("parameters")
    if isinstance(before, dict) and isinstance(after, dict):
        fields["parameters"] = {**before, **after}
    return fields


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        fields = _json(raw.decode())
    except json.JSONDecodeError as error:
        raise InvalidInput(f"not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise InvalidInput("not JSON in UTF-8") from None
    if not isinstance(fields, dict):
        raise InvalidInput('not a JSON object with the fields of a job, such as {"inputs": "…"}')
    return fields


def _json(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
