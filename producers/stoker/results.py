"""Reads results back: what Celery stored, as `Success` or `Failure`."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from stoker_config import keys
from stoker_tasks.errors import Canceled, ErrorType, Expired, Internal, StokerError, by_type
from stoker_tasks.result import Failure, Result, Success, Times

_FINAL: Final = {"SUCCESS", "FAILURE", "REVOKED"}
_READ_AT_ONCE: Final = 500
# How often many results are asked for: soon at first, then patiently.
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5


def read(stored: bytes | None) -> Result | None:
    """Read what Celery's result backend stored for a job.

    Args:
        stored: The value of the job's result key; None if there is none.

    Returns:
        The result; None if the job is not finished.
    """
    if stored is None:
        return None
    meta = json.loads(stored)
    if meta["status"] not in _FINAL:
        return None
    # A task that Celery itself ended has only the time of its end.
    times = Times.model_validate({"finished_at": meta.get("date_done"), **meta.get("times", {})})
    if meta["status"] == "SUCCESS":
        return Success.model_validate({**meta["result"], "times": times})
    return Failure.of(_error(meta["status"], meta["result"]), times)


def as_completed(
    client: Any, job_ids: Sequence[str], timeout: float | None
) -> Iterator[tuple[str, Result]]:
    """Give the results of many jobs as they come.

    Args:
        client: A redis-py client.
        job_ids: The jobs.
        timeout: Seconds to wait for all of them; for ever if None.

    Yields:
        Each job's ID and result, in the order in which they are found.

    Raises:
        TimeoutError: Some were not finished in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    waiting = list(dict.fromkeys(job_ids))
    pause = _FIRST_PAUSE
    while waiting:
        found: set[str] = set()
        for start in range(0, len(waiting), _READ_AT_ONCE):
            some = waiting[start : start + _READ_AT_ONCE]
            values = client.mget([keys.result(job_id) for job_id in some])
            for job_id, stored in zip(some, values, strict=True):
                result = read(stored)
                if result is not None:
                    found.add(job_id)
                    yield job_id, result
        waiting = [job_id for job_id in waiting if job_id not in found]
        if waiting:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{len(waiting)} jobs were not finished within {timeout} s")
            pause = _FIRST_PAUSE if found else min(pause * 1.5, _LONGEST_PAUSE)
            time.sleep(pause)


def _error(status: str, result: Any) -> StokerError:
    kind = str(result.get("exc_type")) if isinstance(result, dict) else ""
    words = result.get("exc_message") if isinstance(result, dict) else None
    words = words if isinstance(words, list) else [words]
    if status == "REVOKED":
        if "expired" in words:
            return Expired(
                "the job was not started before its expiry: give it more time, or add a worker",
                {"phase": "queue", "clock": "expires"},
            )
        return Canceled("the job was canceled")
    for error_type in ErrorType:
        cls = by_type(error_type)
        if cls.__name__ == kind and words:
            return cls(str(words[0]), words[1] if len(words) > 1 else None)
    # Celery itself failed the job, or a task of a user's own did.
    return Internal(f"{kind}: {words[0] if words else ''}", {"exception": kind})
