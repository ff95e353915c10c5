"""The commands that start services: `demo`, `up`, `worker`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stoker.local.errors import Interrupted
from stoker.local.extras import require
from stoker.local.stop import Stop
from stoker_config.serving import Serving
from stoker_config.settings import child_environment, load_settings

if TYPE_CHECKING:
    from stoker.local.stack import Plan, Stack
    from stoker.local.tally import Tally

Pool = Annotated[str | None, typer.Option(help="The pool to serve.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda:N or mps.")]
Preload = Annotated[
    str | None,
    typer.Option(help="Models to load first: task=model[@revision],task2=model2 …"),
]


def demo(
    model: Annotated[
        str | None,
        typer.Option(help="An embedding model of the hub, ORG/NAME; all-MiniLM-L6-v2 if absent."),
    ] = None,
    device: Device = None,
) -> None:
    """Embed the Python reference, answer questions from it, and ask a chat model one more."""
    # What starts services imports redis-py; no other command is to wait for that.
    from stoker.demo import run as demo_run

    settings = load_settings()
    with Stop() as stop:
        code = demo_run.run(
            model=model, device=device or settings.device, cache=settings.cache_dir, stop=stop
        )
    raise typer.Exit(code)


def up(
    pool: Pool = None,
    device: Device = None,
    preload: Preload = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder that keeps queues and results; without it nothing is kept."),
    ] = None,
    flower: Annotated[bool, typer.Option(help="Run Flower, Celery's monitor.")] = True,
    flower_port: Annotated[int | None, typer.Option(help="Flower's port; a free one.")] = None,
) -> None:
    """Run Redis, a worker, a courier and Flower on this machine until Ctrl-C or SIGTERM."""
    from stoker.local.stack import Plan, Stack
    from stoker.local.tally import Tally

    settings = load_settings()
    plan = Plan(
        pool=pool or settings.pool,
        device=device or settings.device,
        preload=",".join(settings.preload) if preload is None else preload,
        data=data and data.resolve(),
        flower=flower,
        flower_port=flower_port,
    )
    typer.echo("Starting Redis, a worker, a courier" + (" and Flower …" if flower else " …"))
    with Stop() as stop:
        try:
            with Stack(plan, settings.cache_dir, stop) as stack:
                try:
                    _announce(stack, plan, stack.wait_until_ready())
                    stack.watch()
                except Interrupted:
                    typer.echo("\nStopping; a second Ctrl-C does not wait for running batches.")
                    tally = stack.stop_serving()
        except Interrupted:
            tally = Tally(done=0, queued=0, unacknowledged=0)
    _report(tally, plan)
    raise typer.Exit(1 if tally.unacknowledged else 0)


def worker(
    pool: Pool = None,
    device: Device = None,
    preload: Preload = None,
    redis_url: Annotated[
        str | None,
        typer.Option(help="The Redis server; better given as STOKER_REDIS_URL with a password."),
    ] = None,
) -> None:
    """Run one worker: one device that serves one pool."""
    require("worker")
    given = {"pool": pool, "device": device, "preload": preload, "redis_url": redis_url}
    environment = child_environment(**{name: each for name, each in given.items() if each})
    # In this process's place, so that signals and the exit status are the worker's own.
    command = [sys.executable, "-m", "stoker_workers", "worker"]
    os.execve(sys.executable, command, environment)


def _announce(stack: "Stack", plan: "Plan", serving: Serving) -> None:
    lines = [
        f"Stoker is up: worker {serving.worker} on {serving.device}, pool {plan.pool}",
        *(f"  loaded     {model}" for model in serving.warm),
        f"  Redis      {stack.redis_url}",
        *([f"  Flower     {stack.flower.url}"] if stack.flower else []),
        f"  logs       {stack.folder}",
        f"Submit with  STOKER_REDIS_URL={stack.redis_url} stoker submit …",
        "Ctrl-C stops all of it.",
    ]
    typer.echo("\n".join(lines))


def _report(tally: "Tally", plan: "Plan") -> None:
    typer.echo(
        f"Stopped: {tally.done} done, {tally.queued} queued, {tally.unacknowledged} unacknowledged."
    )
    if tally.queued and plan.data is None:
        typer.echo("What was queued is gone with its Redis server; --data FOLDER keeps it.")
    if tally.unacknowledged:
        typer.echo("A worker was killed while it held jobs; they are not counted as queued.")
