"""The command `tasks`: what can be asked, from the catalog."""

import json
import shlex
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stoker.cli.exits import as_usage
from stoker_tasks.catalog import CATALOG, find
from stoker_tasks.describe import output_words, parameters_of, takes_media
from stoker_tasks.spec import TaskSpec
from stoker_tasks.wire import celery_name


def tasks(
    name: Annotated[str | None, typer.Argument(help="A task or an alias; all if absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the tasks; or describe one: inputs, parameters, output and an example."""
    if name is None:
        specs = list(CATALOG.values())
        if as_json:
            typer.echo(json.dumps([_summary(spec) for spec in specs]))
        else:
            _print_all(specs)
        return
    spec = as_usage(lambda: find(name))
    if as_json:
        typer.echo(json.dumps(describe(spec), ensure_ascii=False))
    else:
        _print_one(spec)


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
    console.print("\n[bold]parameters[/]")
    table = Table(box=None, padding=(0, 0, 0, 2), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(max_width=30)
    table.add_column()
    for each in parameters_of(spec):
        words = f"{each.doc} (required)" if each.required else each.doc
        table.add_row(Text(each.name), Text(each.type), Text(words))
    console.print(table)
    console.print("\n[bold]example[/]")
    # As it is, so that it can be copied: no wrapping and no markup.
    typer.echo(example_command(spec))
    if takes_media(spec):
        console.print("\nor with a file: --inputs @PATH, or --inputs https://…")
