"""What Celery's result backend stores of a finished job, read as `Success` or `Failure`."""

import json
from typing import Any, Final

from stoker_tasks.errors import Canceled, ErrorType, Expired, Internal, StokerError, by_type
from stoker_tasks.result import Failure, Result, Success, Times

_FINAL: Final = {"SUCCESS", "FAILURE", "REVOKED"}


def read(stored: bytes | str | None) -> Result | None:
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
