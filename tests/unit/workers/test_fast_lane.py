"""What the fast lane leaves of a job is what Celery's tracer leaves, and it is open to no other."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import nan
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery, signals
from celery.app.trace import build_tracer
from celery.result import denied_join_result
from celery.worker import state
from celery.worker.request import create_request_cls
from kombu import Connection

from stoker import Client, TextClassification
from stoker_config import keys
from stoker_config.clock import ServerClock
from stoker_config.settings import Settings
from stoker_tasks.errors import InvalidInput
from stoker_tasks.result import Artifact, Success, Timing
from stoker_workers.app import make_worker_app
from stoker_workers.broker import fast_lane
from stoker_workers.broker.hub import LoopCalls
from stoker_workers.broker.outlet import CeleryOutlet
from stoker_workers.broker.request import PrivateRequest
from stoker_workers.engine.delivery import Delivery, Outcome

TASK = "stoker.text_classification"
# What no two runs of a job have in common.
OWN = re.compile(r'("(?:date_done|finished_at|expires_at|queued_at|task_id)": ?)("[^"]*"|[\d.]+)')


def success(output: Any = "ü", **fields: Any) -> Success:
    timing = Timing(forward_ms=1.5, batch="b1", batch_size=2, release_reason="rows", tokens=3)
    return Success(output=output, task="text-classification", model="m@1", timing=timing, **fields)


def delivery(request: Any) -> Delivery:
    return Delivery(
        id=request.id,
        celery_task=TASK,
        args=(),
        kwargs=request.kwargs,
        submitted=0.0,
        priority=3,
        redelivered=False,
        handle=request,
    )


@dataclass
class Broker:
    """A worker's side of one server, without the worker."""

    app: Celery
    client: Client
    server: Any
    connection: Connection

    @property
    def task(self) -> Any:
        return self.app.tasks[TASK]

    def request(self, change: Callable[[dict[str, Any]], Any] = lambda _: None, **job: Any) -> Any:
        """Submit a job and take its message from the queue; `change` changes its headers."""
        self.client.submit(TextClassification(inputs="x", **job), allow_unserved=True)
        return self.take(change)

    def take(self, change: Callable[[dict[str, Any]], Any] = lambda _: None) -> Any:
        """Take a job's message from the queue."""
        message = self.connection.default_channel.basic_get("stoker")
        change(message.headers)
        cls = create_request_cls(
            PrivateRequest, self.task, SimpleNamespace(apply_async=None), "h", None, app=self.app
        )
        request = cls(
            message,
            on_ack=message.ack_log_error,
            on_reject=message.reject_log_error,
            app=self.app,
            task=self.task,
            hostname="h",
            body=message.body,
            headers=message.headers,
        )
        state.task_reserved(request)
        return request

    def end(self, request: Any, outcome: Outcome, *, fast: bool) -> str | None:
        """End a job in one of the lanes; gives what is stored, without what is this run's own."""
        self.end_all({request: outcome}, fast=fast)
        stored = self.server.get(keys.result(request.id))
        return None if stored is None else OWN.sub(r"\1…", stored.decode())

    def end_all(
        self, ended: Mapping[Any, Outcome], *, fast: bool = True, client: Any = None
    ) -> None:
        """End jobs together; `client` is what the outlet reaches the server by."""
        calls = LoopCalls()
        settings = Settings.model_validate({"fast_lane": fast})
        outlet = CeleryOutlet(calls, client or self.server, ServerClock(self.server), settings)
        outcomes = [(delivery(request), outcome) for request, outcome in ended.items()]
        outlet.started([each for each, _ in outcomes])
        for request in ended:
            request.started_at = 1.25
        try:
            outlet.finished(outcomes)
        finally:
            calls.run()
            calls.close()

    def left(self) -> tuple[Any, ...]:
        """What Celery and the server still know of jobs."""
        known = (state.requests, state.reserved_requests, state.active_requests)
        names = ("unacked", "unacked_index", keys.JOBS, keys.RUNNING)
        return (*map(len, known), self.server.exists(*names))


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    _forget_requests()
    app = make_worker_app(Settings.model_validate({"redis_url": redis_url}))
    with app, Client(redis_url) as client, redis.Redis.from_url(redis_url) as server:
        task = app.tasks[TASK]
        task.__trace__ = build_tracer(TASK, task, app.loader, "h", app=app)
        # In a worker nobody listens for the results of what is sent.
        with app.connection_for_read() as connection, denied_join_result():
            yield Broker(app, client, server, connection)
    _forget_requests()


def _forget_requests() -> None:
    """Clear what Celery knows of requests in this process, be they another test's."""
    state.requests.clear()
    state.reserved_requests.clear()
    state.active_requests.clear()


@pytest.mark.parametrize(
    "outcome",
    [
        success(),
        success([{"label": '"\\ \u2028 ☃', "score": 1e-07}, None, True, 10**20, -0.0, {}]),
        success({"a": nan, "lone": "\ud800"}),
        success("x", metadata={"who": "ö"}, cached=True),
        success("x", artifacts=[Artifact(uri="artifact:1", mime_type="image/png", size=3)]),
    ],
)
@pytest.mark.parametrize("change", [{}, {"parent_id": "p1", "root_id": "p1", "shadow": "other"}])
def test_both_lanes_store_the_same_and_leave_nothing_else(
    broker: Broker, outcome: Success, change: dict[str, str]
) -> None:
    stored = []
    for fast in (True, False):
        request = broker.request(lambda headers: headers.update(change), retention=77, tenant="t")
        assert fast_lane.open_to([request.task])
        assert fast_lane.is_plain(request, outcome)
        stored.append(broker.end(request, outcome, fast=fast))
        assert 70 < broker.server.ttl(keys.result(request.id)) <= 77
        assert broker.left() == (0, 0, 0, 0)

    assert stored[0] == stored[1]
    assert stored[0] is not None
    assert json.loads(stored[0].replace("…", "0"))["status"] == "SUCCESS"


def test_what_cannot_be_stored_is_told_by_the_tracer(broker: Broker) -> None:
    stored = [broker.end(broker.request(), success(object()), fast=fast) for fast in (True, False)]

    assert stored[0] == stored[1]
    assert stored[0] is not None
    assert '"status": "FAILURE"' in stored[0]


def test_a_lane_that_fails_leaves_the_job_to_the_tracer(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> bool:
        raise RuntimeError

    monkeypatch.setattr(type(broker.task.backend), "store_success", fail)

    stored = broker.end(broker.request(), success(), fast=True)

    assert stored is not None
    assert '"status": "SUCCESS"' in stored


@pytest.mark.parametrize("header", [{"group": "g1"}, {"retries": 1}, {"ignore_result": True}])
def test_more_is_to_be_done_for_some_messages(broker: Broker, header: dict[str, Any]) -> None:
    request = broker.request(lambda headers: headers.update(header))

    assert not fast_lane.is_plain(request, success())


@pytest.mark.parametrize("link", ["callbacks", "errbacks", "chain", "chord"])
def test_a_job_with_links_is_not_plain(broker: Broker, link: str) -> None:
    request = broker.request()
    request._payload[2][link] = [{"task": "t"}]

    assert not fast_lane.is_plain(request, success())


def test_a_failure_a_redelivery_and_a_webhook_are_not_plain(broker: Broker) -> None:
    assert not fast_lane.is_plain(broker.request(), InvalidInput("no"))

    again = broker.request()
    again.delivery_info["redelivered"] = True
    assert not fast_lane.is_plain(again, success())

    told = broker.request(webhook="https://example.com/")
    assert not fast_lane.is_plain(told, success())


@pytest.mark.parametrize("name", ["task_prerun", "task_postrun", "task_success"])
def test_who_listens_to_the_tracer_is_told(broker: Broker, name: str) -> None:
    heard: list[Any] = []
    signal = getattr(signals, name)

    def listen(**told: Any) -> None:
        heard.append(told)

    signal.connect(listen)
    try:
        broker.end(broker.request(), success(), fast=True)
    finally:
        signal.disconnect(listen)

    assert len(heard) == 1
    broker.end(broker.request(), success(), fast=True)
    assert len(heard) == 1


@pytest.mark.parametrize("name", ["before_start", "on_success", "after_return", "__call__"])
def test_a_task_with_a_hook_is_traced(
    broker: Broker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(broker.task), name, lambda *_, **__: None, raising=False)

    assert not fast_lane.open_to([broker.task])


def test_a_tracer_a_task_or_a_loader_that_was_changed_is_asked(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = broker.task
    tracer = task.__trace__
    for owner, name, value in (
        (task, "__trace__", lambda *each: tracer(*each)),
        (task, "run", lambda *_: None),
        (task, "track_started", True),
        (task, "ignore_result", True),
        (type(broker.app.loader), "on_task_init", lambda *_: None),
    ):
        assert fast_lane.open_to([task]) == {task}
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            assert not fast_lane.open_to([task])


@pytest.mark.parametrize("name", ["result_extended", "worker_deduplicate_successful_tasks"])
def test_settings_of_celery_that_need_the_tracer_close_the_lane(redis_url: str, name: str) -> None:
    app = make_worker_app(Settings.model_validate({"redis_url": redis_url}))
    app.conf[name] = True
    task = app.tasks[TASK]
    task.__trace__ = build_tracer(TASK, task, app.loader, "h", app=app)

    assert not fast_lane.open_to([task])
