"""Log lines: an exception's kind and place, never its words; jobs make no lines of their own."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.app.trace import LOG_FAILURE, LOG_RECEIVED

from stoker_config.logs import JsonLines, Lines, redact, set_up
from stoker_config.settings import Settings

SECRET = "s3cr3t"
PER_JOB = ("celery.app.trace", "celery.worker.strategy")


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What stands on standard error; logging is restored afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in PER_JOB:
        logging.getLogger(name).setLevel(logging.NOTSET)


def use(**settings: Any) -> None:
    set_up(Settings.model_validate(settings))


def fail() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        raise RuntimeError(f"quotes {error}") from error


def log_a_failure() -> None:
    try:
        fail()
    except RuntimeError:
        logging.getLogger("a.room").exception("it failed for %s", "a reason")


def test_people_read_what_failed_and_where(written: Callable[[], str]) -> None:
    use(log_format="text")

    log_a_failure()

    text = written()
    assert SECRET not in text
    first, raised, cause = text.splitlines()
    assert first.endswith("ERROR   a.room: it failed for a reason")
    assert raised.startswith("RuntimeError at fail (")
    assert "<- log_a_failure (" in raised
    assert cause.startswith("ValueError at fail (")


def test_machines_read_one_object_a_line(written: Callable[[], str]) -> None:
    use(log_format="json")

    log_a_failure()
    logging.getLogger("a.room").warning("two\nlines")

    text = written()
    assert SECRET not in text
    failed, warned = map(json.loads, text.splitlines())
    assert (failed["level"], failed["logger"]) == ("error", "a.room")
    assert failed["message"] == "it failed for a reason"
    assert (failed["error"], failed["causes"]) == ("RuntimeError", ["ValueError"])
    assert failed["at"][0].startswith("fail (")
    assert warned["message"] == "two\nlines"
    assert "error" not in warned


def record(name: str, message: str, *args: Any) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "file", 1, message, args, None)


@pytest.mark.parametrize(
    ("made", "left"),
    [
        (
            record(
                "celery.app.trace",
                LOG_FAILURE,
                {
                    "name": "stoker.fill_mask",
                    "id": "an-id",
                    "description": "raised unexpected",
                    "exc": f"KeyError('{SECRET}\\nand more')",
                },
            ),
            "Task stoker.fill_mask[an-id] raised unexpected: KeyError()",
        ),
        (
            record("celery.app.trace", LOG_RECEIVED, {"name": "stoker.fill_mask", "id": "an-id"}),
            "Task stoker.fill_mask[an-id] received",
        ),
        (
            record("kombu.transport.redis", "Could not restore message: %r", {"body": SECRET}),
            "Could not restore message",
        ),
        (
            record(
                "py.warnings",
                "%s",
                f"trace.py:809: RuntimeWarning: Exception raised outside body: KeyError('{SECRET}')"
                f":\nTraceback …\nKeyError: '{SECRET}'\n",
            ),
            "Exception raised outside body: KeyError",
        ),
        (record("py.warnings", "%s", "a.py:1: UserWarning: kept"), "a.py:1: UserWarning: kept"),
        (record("a.room", "kept: %s", "as it is"), "kept: as it is"),
    ],
)
def test_what_others_quote_of_a_job_is_left_out(made: logging.LogRecord, left: str) -> None:
    assert redact(made)

    assert Lines().format(made).endswith(f": {left}")
    assert json.loads(JsonLines().format(made))["message"] == left


@pytest.mark.parametrize(("level", "shown"), [("info", 0), ("debug", 2)])
def test_jobs_make_lines_only_where_one_debugs(
    written: Callable[[], str], level: str, shown: int
) -> None:
    use(log_level=level)

    for name in PER_JOB:
        logging.getLogger(name).info("a job")
        logging.getLogger(name).error("a fault")

    text = written()
    assert (text.count("a job"), text.count("a fault")) == (shown, 2)


def test_no_line_tells_what_was_requested(written: Callable[[], str]) -> None:
    use(log_level="debug")

    for name in ("httpx2", "httpcore2.http11"):
        logging.getLogger(name).info("GET https://files.test/a?signature=%s", SECRET)

    assert SECRET not in written()
