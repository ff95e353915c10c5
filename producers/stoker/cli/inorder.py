"""Shows results in the order of their jobs, each as soon as those before it are there."""

import sys
from collections.abc import Callable, Iterable, Sequence

import typer

from stoker.cli.exits import Exit
from stoker.cli.follow import Bar, results
from stoker.client import Client
from stoker.handle import JobHandle
from stoker_tasks.result import Failure, Result

# Shows the result of the job at a position; None for a job that is not finished in time.
Show = Callable[[int, Result | None], None]


def in_order(
    client: Client,
    outcomes: Sequence[JobHandle | Failure],
    timeout: float | None,
    show: Show,
    *,
    hidden: bool,
) -> Exit:
    """Show results in the order of their jobs; gives the exit code.

    Args:
        client: The jobs' client.
        outcomes: The jobs, and why others are none.
        timeout: Seconds to wait for all of them; for ever if None.
        show: Shows one.
        hidden: Whether there is no progress bar, even on a terminal.
    """
    handles = [each for each in outcomes if isinstance(each, JobHandle)]
    found: dict[str, Result] = {}
    shown = 0
    # A bar and results on one terminal would overwrite each other: the results come last then.
    at_once = hidden or not sys.stdout.isatty()
    try:
        with Bar(len(handles), hidden=hidden) as bar:
            for handle, result in results(client, handles, timeout):
                found[handle.id] = result
                bar.advance()
                if at_once:
                    shown = _show_ready(outcomes, found, shown, show)
    except KeyboardInterrupt:
        return _left(handles, found, "interrupted", Exit.INTERRUPTED)
    _show_ready(outcomes, found, shown, show, over=True)
    if len(found) < len({handle.id for handle in handles}):
        return _left(handles, found, f"not finished within {timeout:g} s", Exit.TIMEOUT)
    return worst([*outcomes, *found.values()])


def _show_ready(
    outcomes: Sequence[JobHandle | Failure],
    found: dict[str, Result],
    shown: int,
    show: Show,
    *,
    over: bool = False,
) -> int:
    for at in range(shown, len(outcomes)):
        outcome = outcomes[at]
        result = outcome if isinstance(outcome, Failure) else found.get(outcome.id)
        if result is None and not over:
            return at
        show(at, result)
    return len(outcomes)


def _left(handles: Sequence[JobHandle], found: dict[str, Result], why: str, code: Exit) -> Exit:
    left = [handle.id for handle in handles if handle.id not in found]
    listed = " ".join(left[:3]) + (" …" if len(left) > 3 else "")
    typer.echo(
        f"stoker: {why}: {len(left)} of {len(handles)} jobs go on; "
        f"`stoker wait {listed}` waits for them",
        err=True,
    )
    return code


def worst(outcomes: Iterable[object]) -> Exit:
    """Give the exit code: whether a job failed."""
    return Exit.FAILED if any(isinstance(each, Failure) for each in outcomes) else Exit.OK
