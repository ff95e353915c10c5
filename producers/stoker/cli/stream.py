"""The command `stream`: prints the text of a job while it is generated."""

from typing import Annotated, Final

import typer

from stoker.cli.exits import Exit, fail, in_words
from stoker.cli.show import print_line
from stoker.client import Client
from stoker.status import State
from stoker_tasks.errors import StokerError

_NOWHERE: Final = (State.UNKNOWN, State.GONE)


def stream(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="A job, as submit printed it.")],
    after: Annotated[
        str | None, typer.Option(metavar="PIECE", help="Go on after this piece, by its ID.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait for its end; for ever if absent.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON a piece, with its ID.")
    ] = False,
) -> None:
    """Print the text of a job while it is generated: of one that was submitted with --stream.

    Exit codes: 0 it succeeded, 1 it failed, was canceled or expired, 3 time ran out, 5 no job has
    this ID, or its result is gone.
    """
    with Client() as client:
        if client.status(job_id).state in _NOWHERE:
            fail(f"{job_id}: no job has this ID, or its result is gone", Exit.UNKNOWN)
        code = show_text(client, job_id, after=after, timeout=timeout, as_json=as_json)
    raise typer.Exit(code)


def show_text(
    client: Client, job_id: str, *, after: str | None, timeout: float | None, as_json: bool
) -> Exit:
    """Print a job's text as it comes.

    Returns:
        What the command ends with.
    """
    said = False
    try:
        for piece in client.stream(job_id, after=after, timeout=timeout):
            if as_json:
                print_line(
                    id=piece.id,
                    text=piece.text,
                    at=piece.at,
                    attempt=piece.attempt,
                    restart=piece.restart,
                )
                continue
            if piece.restart and said:
                typer.echo()
                typer.echo("stoker: the job is run again; its text begins anew", err=True)
            typer.echo(piece.text, nl=False)
            said = True
    except TimeoutError as error:
        _say_why(str(error), said)
        return Exit.TIMEOUT
    except StokerError as error:
        _say_why(f"job {job_id}: {in_words(error)}", said)
        return Exit.FAILED
    if said:
        typer.echo()
    return Exit.OK


def _say_why(message: str, said: bool) -> None:
    if said:
        typer.echo()
    typer.echo(f"stoker: {message}", err=True)
