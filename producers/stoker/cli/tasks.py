"""The command `tasks`: what can be asked, from the catalog."""

import json
import shlex
import subprocess
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stoker.cli.exits import Exit, as_usage, fail
from stoker.local.extras import require
from stoker_tasks.catalog import CATALOG, find
from stoker_tasks.describe import output_words, parameters_of, takes_media
from stoker_tasks.schema import job_schema, output_schema
from stoker_tasks.spec import TaskSpec
from stoker_tasks.wire import celery_name


def tasks(
    name: Annotated[str | None, typer.Argument(help="A task or an alias; all if absent.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Tell which task a model is for: a hub ID, or a folder."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="The model's branch, tag or commit.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON Schemas of the task's job and its output."),
    ] = False,
) -> None:
    """List the tasks; or describe one: inputs, parameters, output and an example.

    Exit codes: 0; 1 if no single task can be told for --model.
    """
    if as_schema and (name is None or model is not None):
        raise typer.BadParameter("--schema wants the name of one task, and no --model")
    if model is not None:
        _print_task_of(model, revision, as_json=as_json)
        return
    if name is None:
        specs = list(CATALOG.values())
        if as_json:
            typer.echo(json.dumps([_summary(spec) for spec in specs]))
        else:
            _print_all(specs)
        return
    spec = as_usage(lambda: find(name))
    if as_schema:
        typer.echo(json.dumps({"job": job_schema(spec), "output": output_schema(spec)}, indent=2))
    elif as_json:
        typer.echo(json.dumps(describe(spec), ensure_ascii=False))
    else:
        _print_one(spec)


def _print_task_of(model: str, revision: str | None, *, as_json: bool) -> None:
    require("worker")
    # In another process, since this side never imports transformers.
    command = [sys.executable, "-m", "stoker_workers", "resolve", model]
    command += ["--revision", revision] if revision else []
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode != 0:
        last = (told.stderr.strip().splitlines() or ["no reason given"])[-1]
        fail(f"the model could not be looked at: {last}")
    answer: dict[str, Any] = json.loads(told.stdout)
    if as_json:
        typer.echo(told.stdout.strip())
    elif "error" in answer:
        typer.echo(f"stoker: {answer['error']}: {answer['message']}", err=True)
    elif answer["task"] is None:
        able = ", ".join(answer["candidates"]) or "any; `stoker tasks` lists all"
        typer.echo(f"stoker: {model}: {answer['why']}: name one of {able}", err=True)
    else:
        typer.echo(f"{answer['task']} ({answer['why']})")
    raise typer.Exit(Exit.OK if answer.get("task") else Exit.FAILED)


def describe(spec: TaskSpec) -> dict[str, Any]:
    """Describe a task as JSON."""
    return {
        **_summary(spec),
        "celery_task": celery_name(spec.name),
        "inputs": spec.inputs,
        "parameters": [
            {"name": each.name, "type": each.type, "doc": each.doc, "required": each.required}
            for each in parameters_of(spec)
        ],
        "left_out": dict(spec.left_out),
        "same_in_a_batch": sorted(spec.forward_parameters),
        "output": output_words(spec),
        "example": example_command(spec),
    }


def example_command(spec: TaskSpec) -> str:
    """Give a command line that submits the task's example and prints its result."""
    example, name = dict(spec.example), spec.name
    if isinstance(example["inputs"], str):
        parts = ["stoker", "submit", name, "--inputs", example["inputs"]]
        for parameter, value in example.get("parameters", {}).items():
            parts += ["--param", f"{parameter}={json.dumps(value)}"]
        return shlex.join([*parts, "--wait"])
    return f"echo {shlex.quote(json.dumps(example))} | stoker submit {name} - --wait"


def _summary(spec: TaskSpec) -> dict[str, Any]:
    return {"task": spec.name, "aliases": list(spec.aliases), "summary": spec.summary}


def _print_all(specs: list[TaskSpec]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for spec in specs:
        aliases = f" (also {', '.join(spec.aliases)})" if spec.aliases else ""
        table.add_row(f"[bold]{spec.name}[/]", spec.summary + aliases)
    console = Console()
    console.print(table)
    console.print("\n`stoker tasks NAME` describes one.", highlight=False)


def _print_one(spec: TaskSpec) -> None:
    console = Console(highlight=False)
    also = f" (also {', '.join(spec.aliases)})" if spec.aliases else ""
    console.print(f"[bold]{spec.name}[/]{also}: {spec.summary}")
    facts = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    facts.add_row("[bold]inputs[/]", Text(spec.inputs))
    facts.add_row("[bold]output[/]", Text(output_words(spec)))
    facts.add_row("[bold]in Celery[/]", Text(celery_name(spec.name)))
    console.print(facts)
    console.print("\n[bold]parameters[/]" + ("" if spec.parameters else "\n  none"))
    table = Table(box=None, padding=(0, 0, 0, 2), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(max_width=30)
    table.add_column()
    for each in parameters_of(spec):
        words = f"{each.doc} (required)" if each.required else each.doc
        table.add_row(Text(each.name), Text(each.type), Text(words))
    console.print(table)
    if spec.left_out:
        console.print("\n[bold]not taken of its pipeline's parameters[/]")
        reasons = Table(box=None, padding=(0, 0, 0, 2), show_header=False)
        for name, why in sorted(spec.left_out.items()):
            reasons.add_row(Text(name), Text(why))
        console.print(reasons)
    console.print("\n[bold]example[/]")
    # As it is, so that it can be copied: no wrapping and no markup.
    typer.echo(example_command(spec))
    if takes_media(spec):
        console.print("\nor with a file: --inputs @PATH, or --inputs https://…")
