"""The commands for dead letters: jobs that were given up because their workers kept dying."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from stoker import Client
from stoker.cli.exits import Exit
from stoker.cli.show import print_line

dead = typer.Typer(name="dead", help="Jobs that were given up: each worker that ran them died.")

Ids = Annotated[list[str], typer.Argument(metavar="ID…", help="The dead letters' job IDs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print lines of JSON.")]


@dead.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the dead letters, the oldest first."""
    with Client() as client:
        letters = client.dead_letters()
    for letter in letters:
        at = letter.submitted and datetime.fromtimestamp(letter.submitted, UTC).isoformat()
        if as_json:
            print_line(id=letter.id, task=letter.task, pool=letter.pool, submitted=at)
        else:
            typer.echo(f"{letter.id}  {letter.task}  {letter.pool}  {at or 'unknown time'}")
    if not letters and not as_json:
        typer.echo("There are no dead letters.")


@dead.command()
def requeue(ids: Ids) -> None:
    """Put dead letters back on their queues, under their old IDs, with no deaths counted."""
    with Client() as client:
        _for_each(ids, client.requeue, "requeued")


@dead.command()
def discard(ids: Ids) -> None:
    """Forget dead letters; their failures stay readable until they expire."""
    with Client() as client:
        _for_each(ids, client.discard, "discarded")


def _for_each(ids: list[str], do: Callable[[str], bool], done: str) -> None:
    missing = False
    for job_id in ids:
        if do(job_id):
            typer.echo(f"{job_id} {done}")
        else:
            missing = True
            typer.echo(f"stoker: there is no dead letter {job_id}", err=True)
    if missing:
        raise typer.Exit(Exit.UNKNOWN)
