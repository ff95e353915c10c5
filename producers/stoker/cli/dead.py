"""The commands for dead letters: jobs that were given up because their workers kept dying."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from stoker import Client
from stoker.cli.exits import Exit, fail
from stoker.cli.show import print_line

dead = typer.Typer(name="dead", help="Jobs that were given up: each worker that ran them died.")

Ids = Annotated[list[str], typer.Argument(metavar="ID…", help="The dead letters' job IDs.")]
# Of a job's fields those in which no caller's words stand.
_TOLD: Final = frozenset(
    {
        *("model", "revision", "components", "tenant", "cache", "stream"),
        *("queue_timeout", "run_timeout", "deadline", "retention"),
    }
)
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
def show(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The dead letter's job ID.")],
    everything: Annotated[
        bool, typer.Option("--everything", help="Print inputs and parameters as well.")
    ] = False,
) -> None:
    """Print what a dead letter's job asked for, as JSON; its caller's words only if told to."""
    with Client() as client:
        fields = client.dead_letter(job_id)
    if fields is None:
        fail(f"there is no dead letter {job_id}", Exit.UNKNOWN)
    shown = fields if everything else {name: fields[name] for name in fields if name in _TOLD}
    print_line(id=job_id, **shown)


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
