"""How a command ends: its exit codes, and every error as one line that says what to do."""

import sys
from collections.abc import Callable
from enum import IntEnum
from typing import NoReturn, TypeVar

import typer
from pydantic import ValidationError

from stoker.local.errors import LocalError
from stoker_tasks.errors import InvalidInput, StokerError, UnknownTask

Value = TypeVar("Value")


class Exit(IntEnum):
    """What the exit code of a command means; of several jobs the highest counts."""

    OK = 0
    FAILED = 1  # a job failed or was refused, or something that is needed is not there
    USAGE = 2  # the command line is wrong; nothing was submitted
    TIMEOUT = 3  # time ran out; the jobs go on
    FINISHED = 4  # cancel: a job had already finished
    UNKNOWN = 5  # no job has this ID, or its result has expired
    UNFINISHED = 6  # delete: a job waits or runs
    INTERRUPTED = 130


def fail(message: str, code: Exit = Exit.FAILED) -> NoReturn:
    """End the command with one line on standard error.

    Raises:
        typer.Exit: Always.
    """
    typer.echo(f"stoker: {message}", err=True)
    raise typer.Exit(code)


def as_usage(call: Callable[[], Value]) -> Value:
    """Make a call whose error is in what was typed.

    Raises:
        typer.Exit: The call raised `InvalidInput` or `UnknownTask`.
    """
    try:
        return call()
    except (InvalidInput, UnknownTask) as error:
        fail(error.message, Exit.USAGE)


def in_words(error: BaseException) -> str | None:
    """Say in one line what went wrong and what to do; None for what nobody expected.

    Args:
        error: What a command raised.
    """
    if isinstance(error, StokerError):
        # Errors are worded for Python; on the command line an argument is an option.
        message = error.message.replace("allow_unserved=True", "--allow-unserved")
        return f"{error.type}: {message}"
    if isinstance(error, LocalError):
        return str(error)
    if isinstance(error, ValidationError) and error.title == "Settings":
        found = error.errors(include_input=False, include_url=False)[0]
        return f"STOKER_{'_'.join(map(str, found['loc'])).upper()}: {found['msg']}"
    # Whoever has not loaded redis-py has not raised its errors.
    if "redis" in sys.modules:
        return _redis_in_words(error)
    return None


def _redis_in_words(error: BaseException) -> str | None:
    import redis

    from stoker_config.settings import load_settings

    if not isinstance(error, redis.RedisError):
        return None
    settings = load_settings()
    at, names = without_password(settings.redis), "STOKER_REDIS_URL"
    if settings.apart:
        at += f" or {without_password(settings.of_results.redis)}"
        names += " or STOKER_RESULT_URL"
    if isinstance(error, redis.AuthenticationError):
        return f"the Redis server at {at} wants a password: give the right one in {names}"
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return (
            f"no Redis server answers at {at}: is it running? `stoker up` runs one, "
            f"{names} names another"
        )
    return f"the Redis server at {at} refused a command ({error})"


def without_password(url: str) -> str:
    """Give a URL, or several with semicolons between them, as it may be shown."""
    shown = []
    for each in url.split(";"):
        scheme, _, rest = each.partition("://")
        shown.append(f"{scheme}://{rest.rpartition('@')[2]}")
    return ";".join(shown)
