"""The command `delete`: removes what is kept of finished jobs."""

from typing import Annotated, Final

import typer

from stoker.cli.exits import Exit
from stoker.cli.show import print_line
from stoker.client import Client
from stoker.delete import DeleteAnswer

_WORDS: Final = {
    DeleteAnswer.DELETED: "nothing of it is left",
    DeleteAnswer.NOT_FINISHED: "it waits or runs; cancel it first",
    DeleteAnswer.NOT_FOUND: "nothing is kept under this ID",
}
_EXITS: Final = {
    DeleteAnswer.DELETED: Exit.OK,
    DeleteAnswer.NOT_FINISHED: Exit.UNFINISHED,
    DeleteAnswer.NOT_FOUND: Exit.UNKNOWN,
}


def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Jobs, as submit printed them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON a job.")] = False,
) -> None:
    """Delete results, artifacts and large inputs of finished jobs at once.

    Exit codes: 0 deleted, 5 nothing is kept under one of the IDs, 6 one is not finished.
    """
    code = Exit.OK
    with Client() as client:
        for job_id in ids:
            answer = client.delete(job_id)
            code = max(code, _EXITS[answer])
            if as_json:
                print_line(id=job_id, answer=answer)
            else:
                typer.echo(f"{job_id}  {answer}: {_WORDS[answer]}")
    raise typer.Exit(code)
