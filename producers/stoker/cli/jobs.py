"""The commands that submit jobs and follow them: `submit`, `status`, `wait`, `cancel`, `retry`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from stoker.cli.exits import Exit, as_usage, fail
from stoker.cli.inorder import in_order
from stoker.cli.jobfile import merged, read_inputs, read_parameters
from stoker.cli.joblines import STDIN, follow_lines, send_lines, show_lines
from stoker.cli.show import print_line, print_result, print_result_line
from stoker.cli.stream import show_text
from stoker.client import Client
from stoker.handle import JobHandle
from stoker.retry import RetryAnswer
from stoker.status import CancelAnswer, State
from stoker_tasks.catalog import find, implied_parameters
from stoker_tasks.job import Job
from stoker_tasks.result import Result
from stoker_tasks.wire import make_job, queue_name

_Answer = TypeVar("_Answer", CancelAnswer, RetryAnswer)

Ids = Annotated[list[str], typer.Argument(metavar="ID…", help="Jobs, as submit printed them.")]
Timeout = Annotated[
    float | None, typer.Option(min=0, help="Seconds to wait for all of it; for ever if absent.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON a job.")]

_NOWHERE: Final = {
    State.UNKNOWN: "no job has this ID, or no worker has received it yet",
    State.GONE: "the job is over, and its result is kept no longer",
}
_CANCELED: Final = {
    CancelAnswer.CANCELED: "it had not been started, and will not be",
    CancelAnswer.CANCELING: "it runs now; its result will be discarded",
    CancelAnswer.ALREADY_FINISHED: "its result stands",
    CancelAnswer.NOT_FOUND: "no job has this ID, or its result has expired",
}
_CANCEL_EXITS: Final = {
    CancelAnswer.ALREADY_FINISHED: Exit.FINISHED,
    CancelAnswer.NOT_FOUND: Exit.UNKNOWN,
}

_RETRIED: Final = {
    RetryAnswer.RETRYING: "it is queued again",
    RetryAnswer.NOT_FINISHED: "it waits or runs",
    RetryAnswer.SUCCEEDED: "its result stands",
    RetryAnswer.NOT_KEPT: "its message is not kept: submit the job anew",
    RetryAnswer.NOT_FOUND: "no job has this ID, or its result has expired",
}
_RETRY_EXITS: Final = {
    RetryAnswer.NOT_KEPT: Exit.FAILED,
    RetryAnswer.NOT_FINISHED: Exit.FINISHED,
    RetryAnswer.SUCCEEDED: Exit.FINISHED,
    RetryAnswer.NOT_FOUND: Exit.UNKNOWN,
}


def submit(
    task: Annotated[str, typer.Argument(help="The task; `stoker tasks` lists them.")],
    source: Annotated[
        str | None, typer.Argument(metavar="[-]", help="- reads jobs from standard input.")
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(help="One job's inputs: a text; @PATH or a URL for a task that takes a file."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Many jobs: a file with one JSON object of a job's fields a line."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A hub ID or a folder; the pool's model if absent.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="The model's branch, tag or commit on the hub.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=JSON", help="A parameter; what is not JSON is a string."),
    ] = None,
    priority: Annotated[str | None, typer.Option(help="high, normal or low.")] = None,
    queue_timeout: Annotated[
        float | None, typer.Option(help="Seconds within which a job must be started.")
    ] = None,
    run_timeout: Annotated[
        float | None, typer.Option(help="Seconds within which a started job must be finished.")
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When it must be finished: 2030-01-31T12:00:00+01:00."),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Who is told of each job's end.")
    ] = None,
    pool: Annotated[str | None, typer.Option(help="The pool that is to run the jobs.")] = None,
    allow_unserved: Annotated[
        bool, typer.Option("--allow-unserved", help="Submit even if no worker serves it.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the results.")] = False,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Hand out one job's text as it is generated; print it."),
    ] = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Submit one job, or one a line of a file, and print their IDs or their results.

    Many jobs are printed as lines of JSON, in the order of the input, each with its line's number;
    a line that is no job has its error there, and the others run.

    Exit codes: 0 all is well, 1 a job failed or a line is no job, 2 wrong usage, 3 time ran out.
    """
    if (inputs is not None) + (file is not None) + (source is not None) != 1:
        fail("give one of --inputs TEXT, --file PATH and - (standard input)", Exit.USAGE)
    if source not in (None, STDIN):
        fail(f"unexpected argument {source!r}: a file of jobs is given by --file", Exit.USAGE)
    if stream and inputs is None:
        fail("--stream prints the text of one job: give its --inputs", Exit.USAGE)
    spec = as_usage(lambda: find(task))
    given = {
        "model": model,
        "revision": revision,
        "priority": priority,
        "webhook": webhook,
        "queue_timeout": queue_timeout,
        "run_timeout": run_timeout,
        "deadline": deadline,
        "stream": stream or None,
    }
    common: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    parameters = {**implied_parameters(task), **as_usage(lambda: read_parameters(param or ()))}
    if parameters:
        common["parameters"] = parameters
    if pool is not None:
        as_usage(lambda: queue_name(pool))
    with Client() as client:

        def send(jobs: Sequence[Job]) -> list[JobHandle]:
            return client.submit_many(jobs, pool=pool, allow_unserved=allow_unserved)

        if inputs is not None:
            fields = as_usage(lambda: {**common, "inputs": read_inputs(spec, inputs)})
            [handle] = send([as_usage(lambda: make_job(spec.name, fields))])
            if stream:
                code = show_text(client, handle.id, after=None, timeout=timeout, as_json=as_json)
            elif wait:
                code = _show_results(client, [handle], timeout, as_json)
            else:
                code = _show_id(handle, as_json)
        else:
            as_usage(lambda: make_job(spec.name, merged(spec.example, common)))
            sent = send_lines(file, spec, common, send)
            code = follow_lines(client, sent, timeout) if wait else show_lines(sent)
    raise typer.Exit(code)


def status(ids: Ids, as_json: AsJson = False) -> None:
    """Say where jobs stand: queued, running, canceling, succeeded, failed, canceled, expired, gone.

    Exit codes: 0, or 5 if no job has one of the IDs, or its result is gone.
    """
    code = Exit.OK
    with Client() as client:
        for job_id in ids:
            found = client.status(job_id)
            if found.state in _NOWHERE:
                code = Exit.UNKNOWN
            if as_json:
                print_line(
                    id=found.id,
                    state=found.state,
                    terminal=found.terminal,
                    waiting_for=found.waiting_for,
                    **found.times.model_dump(mode="json"),
                )
            else:
                note = f": {found.waiting_for}" if found.waiting_for else ""
                typer.echo(f"{found.id}  {found.state}{note}")
    raise typer.Exit(code)


def wait(ids: Ids, timeout: Timeout = None, as_json: AsJson = False) -> None:
    """Wait for jobs and print their results, in the order of the IDs.

    Exit codes: 0 all succeeded, 1 one failed, was canceled or expired, 3 time ran out, 5 no job has
    one of the IDs.
    """
    with Client() as client:
        handles = [client.handle(job_id) for job_id in ids]
        for handle in handles:
            if (state := handle.status().state) in _NOWHERE:
                fail(f"{handle.id}: {_NOWHERE[state]}", Exit.UNKNOWN)
        code = _show_results(client, handles, timeout, as_json)
    raise typer.Exit(code)


def cancel(ids: Ids, as_json: AsJson = False) -> None:
    """Cancel jobs: those that wait will not run, those that run have their results discarded.

    Exit codes: 0 canceled or canceling, 4 one had already finished, 5 no job has one of the IDs.
    """
    _ask_each(ids, Client.cancel, _CANCELED, _CANCEL_EXITS, as_json=as_json)


def retry(ids: Ids, as_json: AsJson = False) -> None:
    """Run jobs again that failed, expired or were canceled, under their old IDs.

    Exit codes: 0 they are queued again, 1 one is not kept any more, 4 one waits, runs or has
    succeeded, 5 no job has one of the IDs.
    """
    _ask_each(ids, Client.retry, _RETRIED, _RETRY_EXITS, as_json=as_json)


def _ask_each(
    ids: Sequence[str],
    ask: Callable[[Client, str], _Answer],
    words: Mapping[_Answer, str],
    exits: Mapping[_Answer, Exit],
    *,
    as_json: bool,
) -> None:
    code = Exit.OK
    with Client() as client:
        for job_id in ids:
            answer = ask(client, job_id)
            code = max(code, exits.get(answer, Exit.OK))
            if as_json:
                print_line(id=job_id, answer=answer)
            else:
                typer.echo(f"{job_id}  {answer}: {words[answer]}")
    raise typer.Exit(code)


def _show_id(handle: JobHandle, as_json: bool) -> Exit:
    if as_json:
        print_line(id=handle.id)
    else:
        typer.echo(handle.id)
    return Exit.OK


def _show_results(
    client: Client, handles: Sequence[JobHandle], timeout: float | None, as_json: bool
) -> Exit:
    def show(at: int, result: Result | None) -> None:
        if result is None:
            return
        if as_json:
            print_result_line(result, job_id=handles[at].id)
        else:
            print_result(result, job_id=handles[at].id)

    return in_order(client, handles, timeout, show, hidden=False)
