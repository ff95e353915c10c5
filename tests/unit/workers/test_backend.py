"""A stored result is what Celery's own backend stores; a job's success with less white space."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from math import nan
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.app.task import Context
from celery.backends.redis import RedisBackend

from stoker_config.settings import Settings
from stoker_tasks.result import Success, Timing
from stoker_workers.app import make_worker_app
from stoker_workers.broker.tasks import Returned

DONE = Success(
    output=[{"label": "ü", "score": 0.5}], task="fill-mask", model="m@1", timing=Timing()
)


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    with make_worker_app(Settings.model_validate({"redis_url": redis_url})) as app:
        yield app


@pytest.mark.parametrize("value", [{"a": [1, None, "é", 0.1]}, "text", None, (1, 2)])
def test_it_is_written_as_celery_writes_it(app: Celery, value: Any) -> None:
    meta = {"status": "SUCCESS", "result": value}
    assert app.backend.encode(meta) == RedisBackend.encode(app.backend, meta)


@pytest.mark.parametrize(
    "output", [["ü", 0.5, -0.0, 1e-07, 10**20], {"a": nan}, "\ud800", "\u2028"]
)
def test_a_success_is_the_same_json(app: Celery, output: Any) -> None:
    done = Returned(DONE.model_copy(update={"output": output}))
    meta = {"status": "SUCCESS", "result": done, "traceback": None, "task_id": "j1"}

    written = app.backend.encode(meta)

    assert written.startswith('{"status": "SUCCESS", "result": {')
    read = [repr(json.loads(each)) for each in (written, RedisBackend.encode(app.backend, meta))]
    assert read[0] == read[1]


@pytest.mark.parametrize("value", [datetime(2026, 1, 2, tzinfo=UTC), uuid4(), Decimal("1.5")])
def test_what_only_kombu_can_write_is_left_to_it(app: Celery, value: Any) -> None:
    meta = {"status": "SUCCESS", "result": [value]}
    assert app.backend.encode(meta) == RedisBackend.encode(app.backend, meta)


@pytest.mark.parametrize("state", ["SUCCESS", "STARTED", "FAILURE"])
@pytest.mark.parametrize("links", [{}, {"group": "g1"}, {"parent_id": "p1"}])
def test_it_says_the_same_of_its_job(app: Celery, state: str, links: dict[str, str]) -> None:
    request = Context({"id": "j1", "task": "t", "hostname": "h", **links})
    given = app.backend._get_result_meta({"a": 1}, state, None, request)
    wanted = RedisBackend._get_result_meta(app.backend, {"a": 1}, state, None, request)
    when, then = given.pop("date_done"), wanted.pop("date_done")

    assert json.dumps(given) == json.dumps(wanted)
    assert (when is None) == (then is None)
    if when is not None:
        assert when[-6:] == then[-6:] == "+00:00"
        assert abs(datetime.fromisoformat(when) - datetime.fromisoformat(then)).days == 0


def test_it_says_of_its_job_what_the_settings_ask_for(redis_url: str) -> None:
    app = make_worker_app(Settings.model_validate({"redis_url": redis_url}))
    app.conf.result_extended = True
    request = Context({"id": "j1", "task": "t", "hostname": "h", "kwargs": {}, "args": []})

    assert app.backend._get_result_meta({}, "SUCCESS", None, request)["name"] == "t"


def test_its_key_is_celerys(app: Celery) -> None:
    assert app.backend.get_key_for_task("j1") == RedisBackend.get_key_for_task(app.backend, "j1")
    with pytest.raises(ValueError, match="must not be empty"):
        app.backend.get_key_for_task("")
