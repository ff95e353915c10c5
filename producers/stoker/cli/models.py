"""The commands for models: what is warm where and who is well, load one, have one given up."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from stoker import Client
from stoker.cli.exits import Exit, fail
from stoker.cli.show import print_line
from stoker.models import is_about
from stoker_config.serving import ModelState, Serving
from stoker_config.settings import load_settings
from stoker_config.sizes import in_words

models = typer.Typer(name="models", help="What is warm where; load a model, or give one up.")

Model = Annotated[
    str,
    typer.Argument(help="Its name in the models file, a hub ID or a folder of the worker's."),
]
Pool = Annotated[str | None, typer.Option(help="The pool; the settings' one if absent.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print lines of JSON.")]

_POLL: Final = 0.2
_AGES: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@models.callback(invoke_without_command=True)
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models of all living workers: state, memory, last use; and what each has done."""
    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        workers = client.workers(starting=True)
    if as_json:
        for worker, state in _states(workers):
            print_line(
                worker=worker.worker,
                device=worker.device,
                pools=list(worker.pools),
                ailing=worker.ailing,
                meter=worker.meter,
                **asdict(state),
            )
        return
    if not workers:
        typer.echo("No worker is alive: `stoker worker` starts one.")
        return
    for worker in workers:
        _print_worker(worker)


@models.command()
def preload(
    model: Model,
    task: Annotated[
        str | None, typer.Option(help="For which task; those of the models file if absent.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit.")] = None,
    pool: Pool = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is loaded.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 600.0,
) -> None:
    """Load a model on all workers of a pool, before jobs ask for it.

    Exit codes: 0; 1 if a worker cannot load it; 3 if it takes longer than --timeout.
    """
    with Client() as client:
        before = {_place(*each): each[1].used for each in _states(client.workers(starting=True))}
        answers = client.preload_model(model, task=task, revision=revision, pool=pool)
        wanted = {(answer.worker, each) for answer in answers for each in answer.tasks}
        if not wait:
            typer.echo(f"{model} is being loaded; `stoker models` shows how far it is")
            return
        failed = False
        deadline = time.monotonic() + timeout
        while wanted:
            for worker, state in _states(client.workers(starting=True)):
                place = (worker.worker, state.task)
                if place not in wanted or not is_about(state, model):
                    continue
                # What was announced before this wish says nothing of it.
                if before.get(_place(worker, state)) == state.used:
                    continue
                if state.state == "warm":
                    typer.echo(f"{worker.worker}: {state.model}, {in_words(state.memory)}")
                elif state.state == "failed":
                    failed = True
                    typer.echo(f"stoker: {worker.worker}: {state.step}", err=True)
                else:
                    continue
                wanted.discard(place)
            if time.monotonic() > deadline:
                fail(f"{model} is not loaded after {timeout:g} s; it goes on", Exit.TIMEOUT)
            time.sleep(_POLL if wanted else 0)
    if failed:
        raise typer.Exit(Exit.FAILED)


@models.command()
def evict(model: Model, pool: Pool = None) -> None:
    """Give up a model on all workers of a pool, when the jobs that use it are done.

    Exit codes: 0; 5 if no worker of the pool has it.
    """
    with Client() as client:
        answers = client.evict_model(model, pool=pool)
    for answer in answers:
        if answer.tasks:
            typer.echo(f"{answer.worker}: {model} is given up when its jobs are done")
    if not any(answer.tasks for answer in answers):
        at = pool or load_settings().pool
        fail(f"no worker of the pool {at} has {model} loaded", Exit.UNKNOWN)


@models.command()
def check(
    worker: Annotated[str, typer.Argument(help="Its Celery node name, as `stoker models` shows.")],
) -> None:
    """Say whether a worker is there and well: exit code 1 if it is not, or still starts."""
    with Client() as client:
        found = {each.worker: each for each in client.workers(starting=True)}.get(worker)
    if found is None:
        fail(f"no worker {worker} is alive: `stoker models` shows those that are")
    if not found.ready:
        fail(f"{worker} still loads its first models")
    if found.ailing:
        fail(f"{worker} is not well: {found.ailing}")
    typer.echo(f"{worker} is well")


def _place(worker: Serving, state: ModelState) -> tuple[str, ...]:
    return worker.worker, state.task, state.name, state.model


def _states(workers: list[Serving]) -> Iterator[tuple[Serving, ModelState]]:
    for worker in workers:
        for state in worker.states:
            yield worker, state


def _print_worker(worker: Serving) -> None:
    console = Console(highlight=False, soft_wrap=True)
    state = "" if worker.ready else ", starting"
    pools = ", ".join(worker.pools)
    console.print(f"{worker.worker} on {worker.device}, pool {pools}{state}", markup=False)
    if worker.ailing:
        console.print(f"  not well: {worker.ailing}", markup=False, style="red")
    if done := _done(worker.meter):
        console.print(f"  {done}", markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(worker.states))
    for title in ("model", "task", "state", "memory", "last use"):
        table.add_column(title, no_wrap=title != "state")
    for each in worker.states:
        named = f"{each.name} ({each.model})" if each.name else each.model
        words = f"{each.state}{', pinned' if each.pinned else ''}"
        if each.step:
            words += f": {each.step}"
        table.add_row(named, each.task, words, in_words(each.memory), _ago(each.used))
    console.print(table)
    if not worker.states:
        console.print("no model is loaded", markup=False)


def _done(meter: Mapping[str, float]) -> str:
    """Say what a worker's device has done; "" if nothing, or if the worker does not tell."""
    batches, padded = meter.get("batches", 0), meter.get("padded_tokens", 0)
    if not batches or not padded:
        return ""
    return (
        f"{batches:.0f} batches of {meter.get('rows', 0) / batches:.1f} rows, "
        f"padding efficiency {meter.get('tokens', 0) / padded:.2f}, "
        f"busy {meter.get('busy_s', 0):.1f} s, "
        f"idle with work {meter.get('idle_with_work_s', 0):.1f} s"
    )


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    size, unit = next((each for each in _AGES if seconds >= each[0]), _AGES[-1])
    return f"{seconds / size:.0f} {unit} ago"
