"""Log lines for people or machines, in which no caller's words stand.

What a job was given and gave is for its caller. An exception's message may quote it, so of
exceptions the lines tell the kind and the place.
"""

import json
import logging
import re
import sys
import traceback
from typing import Any, Final

from stoker_config.settings import Settings

_TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# Celery's loggers that write lines for each job: noise, and a tenth of what a short job costs.
_PER_JOB: Final = ("celery.app.trace", "celery.worker.strategy")
# Libraries that write the URLs of requests and the heads of answers, which may hold signatures.
_OF_REQUESTS: Final = ("boto3", "botocore", "httpcore2", "httpx2", "s3transfer", "urllib3")
# Messages of Celery and kombu that quote a message's body or an exception: by logger, a pattern of
# the finished message, and what is left of it.
_QUOTING: Final = {
    "celery.app.trace": (r"(?s)^(Task \S+ .*?: \w+)\(.*", r"\1()"),
    "kombu.transport.redis": (r"(?s)^(Could not restore message).*", r"\1"),
    "py.warnings": (r"(?s)^.*(Exception raised outside body: \w+).*", r"\1"),
}


class Lines(logging.Formatter):
    """Lines for people; below a line that tells of an exception, where that was raised."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        """Show the kinds of an exception and its causes, with the lines that each passed."""
        return "\n".join(
            f"{kind} at {' <- '.join(places) or 'an unknown place'}" for kind, places in _chain(ei)
        )


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and an error's type and place."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            [(line["error"], line["at"]), *causes] = _chain(record.exc_info)
            if causes:
                line["causes"] = [kind for kind, _ in causes]
        return json.dumps(line, ensure_ascii=False)


def set_up(settings: Settings) -> None:
    """Send all log lines of this process to standard error, as the settings ask."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else Lines())
    handler.addFilter(redact)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _PER_JOB:
        level = logging.NOTSET if settings.log_level == "debug" else logging.WARNING
        logging.getLogger(name).setLevel(level)
    for name in _OF_REQUESTS:
        logging.getLogger(name).setLevel(logging.WARNING)


def redact(record: logging.LogRecord) -> bool:
    """Leave out what a record of Celery or kombu quotes of a job; a filter for handlers."""
    quoting = _QUOTING.get(record.name)
    if quoting is not None:
        record.msg, record.args = re.sub(*quoting, record.getMessage()), ()
    return True


def _chain(exc_info: Any) -> list[tuple[str, list[str]]]:
    """List an exception and its causes, each with its kind and the places that it passed."""
    error: BaseException | None = exc_info[1]
    found: list[tuple[str, list[str]]] = []
    while error is not None and len(found) < 5:
        frames = traceback.extract_tb(error.__traceback__)[::-1]
        places = [f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames]
        found.append((type(error).__name__, places))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found
