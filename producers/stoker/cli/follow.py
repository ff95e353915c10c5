"""Waits for submitted jobs, showing how far they are and why nothing moves."""

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TimeElapsedColumn,
)
from rich.text import Text

from stoker.client import Client
from stoker.handle import JobHandle
from stoker_tasks.result import Result

# How long nothing has to come before the reason is looked for.
_LOOK_SECONDS: Final = 5.0


class _Rate(ProgressColumn):
    """How many jobs end a second."""

    def render(self, task: Task) -> Text:
        """Show it, once there is something to show."""
        return Text("" if task.speed is None else f"{task.speed:.1f} jobs/s")


class Bar:
    """A progress bar on standard error; nothing where that is no terminal.

    Args:
        total: How many jobs there are.
        hidden: Show none even on a terminal.
    """

    def __init__(self, total: int, *, hidden: bool = False) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=hidden or not console.is_terminal,
        )
        self._total = total
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        self._progress.start()
        self._task = self._progress.add_task("", total=self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def advance(self) -> None:
        """Count one more job as done."""
        self._progress.advance(self._task)


def results(
    client: Client, handles: Sequence[JobHandle], timeout: float | None
) -> Iterator[tuple[JobHandle, Result]]:
    """Give results as they come; says on standard error if no worker will take what is waiting.

    Args:
        client: The jobs' client.
        handles: The jobs.
        timeout: Seconds to wait for all of them; for ever if None.

    Yields:
        Each job's handle and result. It ends when all have come or time has run out.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    waiting = {handle.id: handle for handle in handles}
    said: set[str] = set()
    # A short first look, so that whoever waits for nobody learns it soon.
    pause = _LOOK_SECONDS / 5
    while waiting:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return
        try:
            for handle, result in client.as_completed(
                list(waiting.values()), timeout=pause if left is None else min(pause, left)
            ):
                del waiting[handle.id]
                yield handle, result
        except TimeoutError:
            pause = _LOOK_SECONDS
            why = next(iter(waiting.values())).status().waiting_for
            if why is not None and why not in said:
                said.add(why)
                typer.echo(f"stoker: waiting: {why}", err=True)
