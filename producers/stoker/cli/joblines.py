"""Jobs that are given one a line: sent in bunches, and shown by their lines' numbers."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from stoker.cli.exits import Exit, fail
from stoker.cli.inorder import in_order, worst
from stoker.cli.jobfile import Line, read_lines
from stoker.cli.show import print_line, print_result_line
from stoker.client import Client
from stoker.handle import JobHandle
from stoker_tasks.errors import StokerError
from stoker_tasks.job import Job
from stoker_tasks.result import Failure, Result
from stoker_tasks.spec import TaskSpec

# Lines of a file that are read before they are sent, in one round trip.
_BUNCH: Final = 500
STDIN: Final = "-"

# A line, and what became of it: a job, or why there is none.
Sent = tuple[Line, JobHandle | Failure]


def send_lines(
    file: Path | None,
    spec: TaskSpec,
    common: dict[str, Any],
    send: Callable[[Sequence[Job]], list[JobHandle]],
) -> list[Sent]:
    """Submit the jobs of a file, or of standard input; a line that is no job fails alone."""
    sent: list[Sent] = []
    with _opened(file) as lines:
        jobs = read_lines(lines, spec, common)
        while bunch := list(islice(jobs, _BUNCH)):
            sent += zip(bunch, _send_bunch(bunch, send), strict=True)
    return sent


def _send_bunch(
    bunch: Sequence[Line], send: Callable[[Sequence[Job]], list[JobHandle]]
) -> list[JobHandle | Failure]:
    jobs = [line.job for line in bunch if isinstance(line.job, Job)]
    try:
        handles: Iterator[JobHandle | Failure] = iter(send(jobs))
    except StokerError:
        # Nothing was sent: one of them is refused, and the others are not to blame.
        handles = iter([_send_one(job, send) for job in jobs])
    return [line.job if isinstance(line.job, Failure) else next(handles) for line in bunch]


def _send_one(job: Job, send: Callable[[Sequence[Job]], list[JobHandle]]) -> JobHandle | Failure:
    try:
        [handle] = send([job])
    except StokerError as error:
        return Failure.of(error)
    return handle


def show_lines(sent: Sequence[Sent]) -> Exit:
    """Print the job of each line."""
    for line, outcome in sent:
        if isinstance(outcome, Failure):
            print_result_line(outcome, job_id=None, line=line.number)
        else:
            print_line(line=line.number, id=outcome.id)
    return worst(outcome for _, outcome in sent)


def follow_lines(client: Client, sent: Sequence[Sent], timeout: float | None) -> Exit:
    """Wait for the jobs of all lines, and print their results."""

    def show(at: int, result: Result | None) -> None:
        line, outcome = sent[at]
        job_id = None if isinstance(outcome, Failure) else outcome.id
        if result is not None:
            print_result_line(result, job_id=job_id, line=line.number)
        elif job_id is not None:
            print_line(line=line.number, id=job_id, status=client.status(job_id).state)

    outcomes = [outcome for _, outcome in sent]
    # Where the results scroll by, they are the progress.
    return in_order(client, outcomes, timeout, show, hidden=sys.stdout.isatty())


@contextmanager
def _opened(file: Path | None) -> Iterator[Iterable[bytes]]:
    if file is None or str(file) == STDIN:
        yield sys.stdin.buffer
        return
    try:
        lines = file.open("rb")
    except OSError as error:
        fail(f"--file {file}: {error.strerror}", Exit.USAGE)
    with lines:
        yield lines
