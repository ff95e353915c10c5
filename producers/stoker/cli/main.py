"""The command `stoker`: what its commands are called, and how they fail."""

import sys

import typer

from stoker.cli import services
from stoker.local.errors import LocalError
from stoker_tasks.errors import StokerError

app = typer.Typer(
    name="stoker",
    help="Hugging Face pipelines as queued, batched, crash-safe jobs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo")(services.demo)
app.command("up")(services.up)
app.command("worker")(services.worker)


def main() -> None:
    """Run the command line; an error that the user can mend is one message, not a traceback."""
    try:
        app()
    except (LocalError, StokerError) as error:
        typer.echo(f"stoker: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
