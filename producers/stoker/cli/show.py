"""How results are printed: lines of JSON for machines, something shorter for people."""

import json
import sys
from typing import Any, Final

import typer
from rich.console import Console

from stoker_tasks.result import Failure, Result, Timing

# A vector on a terminal is shown by its first numbers.
_NUMBERS: Final = 8


def print_line(**fields: Any) -> None:
    """Print one line of JSON, without the fields that are None."""
    kept = {name: value for name, value in fields.items() if value is not None}
    typer.echo(json.dumps(kept, ensure_ascii=False))


def print_result_line(result: Result, *, job_id: str | None, line: int | None = None) -> None:
    """Print a result as one line of JSON."""
    print_line(line=line, id=job_id, **result.model_dump(mode="json"))


def print_result(result: Result, *, job_id: str) -> None:
    """Print a result for a person: its output, and on standard error what is known of it."""
    if isinstance(result, Failure):
        said = f"{result.error}: {result.message}"
        typer.echo(f"stoker: job {job_id} {result.status}: {said}", err=True)
        return
    if sys.stdout.isatty():
        Console().print_json(data=_shortened(result.output), ensure_ascii=False)
    else:
        typer.echo(json.dumps(result.output, ensure_ascii=False, indent=2))
    typer.echo(f"{job_id}: {result.model}, {_timing_words(result.timing)}", err=True)


def _timing_words(timing: Timing) -> str:
    spent = {
        "queue": timing.queue_ms,
        "preprocess": timing.preprocess_ms,
        "ready": timing.ready_ms,
        "forward": timing.forward_ms,
        "postprocess": timing.postprocess_ms,
    }
    parts = ", ".join(f"{name} {ms:.0f}" for name, ms in spent.items())
    return f"{sum(spent.values()):.0f} ms ({parts}), batch of {timing.batch_size}"


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > 2 * _NUMBERS and all(isinstance(each, int | float) for each in value):
        return [*value[:_NUMBERS], f"… {len(value) - _NUMBERS} more (--json prints all)"]
    return [_shortened(each) for each in value]
