"""Log lines for people or machines, in which no caller's words stand."""

import json
import logging
import sys
from typing import Any, Final

from stoker_config.settings import Settings

_TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# These of Celery's messages carry a message's body or arguments; what is left of them says only
# that it happened.
_REDACTED: Final = {
    "celery.worker.consumer.consumer": "a message was refused; its body is not logged",
    "kombu.message": "a message could not be handled; its body is not logged",
}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and an error's type."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)


def set_up(settings: Settings) -> None:
    """Send all log lines of this process to standard error, as the settings ask."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(_TEXT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())


def redact(record: logging.LogRecord) -> bool:
    """Replace a record of Celery's that would show a message's body; a filter for handlers."""
    kept = _REDACTED.get(record.name)
    if kept is not None and record.levelno >= logging.WARNING and record.args:
        record.msg, record.args, record.exc_info = kept, (), None
    return True
