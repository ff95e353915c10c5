"""Writes docs/settings.md and docs/tasks.md from the types and docstrings in the code."""

import sys
from collections.abc import Sequence
from pathlib import Path

from stoker.cli.tasks import example_command
from stoker_config.settings import Settings
from stoker_tasks.catalog import CATALOG
from stoker_tasks.describe import FieldWords, fields_of, output_words, parameters_of
from stoker_tasks.job import Job
from stoker_tasks.spec import TaskSpec
from stoker_tasks.wire import celery_name

DOCS = Path(__file__).parents[1] / "docs"
_WRITTEN = "<!-- Written by scripts/reference.py from the code; change it there. -->"


def main() -> int:
    """Write the pages."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"docs/{name}\n")
    return 0


def pages() -> dict[str, str]:
    """Give the text of each page."""
    return {"settings.md": _settings(), "tasks.md": _tasks()}


def _settings() -> str:
    rows = [
        (f"`STOKER_{each.name.upper()}`", _default(each.name), _cell(each.type), _cell(each.doc))
        for each in fields_of(Settings)
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            _WRITTEN,
            "",
            "Each is read from the environment when a process starts; options of the command line",
            "win. Workers, producers and Flower read the same ones. Lists are separated by commas.",
            "",
            *_table(("variable", "default", "type", "what it is"), rows),
            "",
        ]
    )


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    value = Settings.model_construct().model_dump()[name]
    if field.default_factory is not None or value in (None, "", ()):
        return ""
    shown = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    return f"`{shown}`"


def _tasks() -> str:
    parts = [
        "# Tasks",
        "",
        _WRITTEN,
        "",
        "What each task takes and gives; `stoker tasks NAME` prints the same. Parameters are those",
        "of the task's pipeline in transformers, under its names and with its defaults; only what",
        "is given is sent. Those that a job may not set are named with the reason. `output` is",
        "what the pipeline returns for the same call: for one input as below, for a list of inputs",
        "a list of it. `stoker tasks NAME --schema` prints the JSON Schemas of a task's job and of",
        "its output.",
        "",
        "Every job has these fields:",
        "",
        *_fields(fields_of(Job)),
        "",
        "A large array or a sound in an output is stored as an artifact: in its place stands",
        '`{"artifact": uri, "mime_type": …}` with its size, and `Client.artifact(uri)` reads its',
        "bytes: an NPY file, or a WAV file of 16-bit samples.",
        "",
        *_table(
            ("task", "what it does"),
            [(f"[{spec.name}](#{spec.name})", spec.summary) for spec in CATALOG.values()],
        ),
    ]
    for spec in CATALOG.values():
        parts += ["", *_task(spec)]
    return "\n".join([*parts, ""])


def _task(spec: TaskSpec) -> list[str]:
    lines = [f"## {spec.name}", "", f"{spec.summary[0].upper()}{spec.summary[1:]}."]
    if spec.aliases:
        lines[-1] += f" Also called {', '.join(f'`{alias}`' for alias in spec.aliases)}."
    lines += [
        "",
        f"- Celery task: `{celery_name(spec.name)}`",
        f"- Python: `{spec.job.__name__}`",
        f"- inputs: {spec.inputs}",
        f"- output: `{output_words(spec)}`",
        f"- to the next link of a chain: {_handed_over(spec)}",
        f"- equal in a batch, beside the model: {_equal(spec)}",
        *_left_out(spec),
        "",
        *(_fields(parameters_of(spec)) if spec.parameters else ["No parameters."]),
        "",
        "```shell",
        example_command(spec),
        "```",
    ]
    return lines


def _handed_over(spec: TaskSpec) -> str:
    return "its text or its file" if spec.hand_over else "nothing"


def _equal(spec: TaskSpec) -> str:
    listed = ", ".join(f"`{name}`" for name in spec.parameters if name in spec.forward_parameters)
    return listed or ("nothing; all parameters may differ" if spec.parameters else "nothing")


def _left_out(spec: TaskSpec) -> list[str]:
    told = "; ".join(f"`{name}` ({why})" for name, why in sorted(spec.left_out.items()))
    return [f"- not taken of its pipeline's parameters: {told}"] if told else []


def _fields(fields: list[FieldWords]) -> list[str]:
    rows = [
        (f"`{each.name}`" + (" (required)" if each.required else ""), each.type, each.doc)
        for each in fields
    ]
    return _table(("name", "type", "what it is"), [tuple(map(_cell, row)) for row in rows])


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
