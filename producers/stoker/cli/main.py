"""The command `stoker`: what its commands are called, and how they fail."""

import sys

import typer

from stoker.cli import doctor, jobs, services, tasks
from stoker.cli.dead import dead
from stoker.cli.delete import delete
from stoker.cli.exits import Exit, in_words
from stoker.cli.models import models
from stoker.cli.stream import stream
from stoker.cli.webhooks import webhooks

app = typer.Typer(
    name="stoker",
    help="Hugging Face pipelines as queued, batched, crash-safe jobs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo")(services.demo)
app.command("up")(services.up)
app.command("worker")(services.worker)
app.command("submit")(jobs.submit)
app.command("status")(jobs.status)
app.command("wait")(jobs.wait)
app.command("stream")(stream)
app.command("cancel")(jobs.cancel)
app.command("delete")(delete)
app.command("retry")(jobs.retry)
app.add_typer(dead)
app.add_typer(webhooks)
app.add_typer(models)
app.command("tasks")(tasks.tasks)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line; an error that the user can mend is one message, not a traceback."""
    try:
        app()
    except Exception as error:
        message = in_words(error)
        if message is None:
            raise
        typer.echo(f"stoker: {message}", err=True)
        sys.exit(Exit.FAILED)


if __name__ == "__main__":
    main()
