"""Events of tasks are sent while somebody listens, and cost nothing while nobody does."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from celery import Celery

from stoker_config.app import make_app
from stoker_config.settings import Settings
from stoker_workers.app import make_worker_app
from stoker_workers.broker import events


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    with make_worker_app(Settings.model_validate({"redis_url": redis_url})) as app:
        yield app


@pytest.fixture
def dispatcher(app: Celery) -> Iterator[Any]:
    with app.connection_for_write() as connection:
        yield app.events.Dispatcher(connection, hostname="w@host", buffer_group=frozenset({"task"}))


@pytest.fixture
def published(redis_url: str) -> Iterator[Any]:
    """Count what was published."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        yield lambda: client.info("commandstats").get("cmdstat_publish", {"calls": 0})["calls"]


def send(dispatcher: Any, job: str) -> None:
    dispatcher.send("task-received", uuid=job)
    dispatcher.flush()


def test_nothing_is_sent_about_tasks_while_nobody_listens(
    dispatcher: Any, published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_ASK_SECONDS", 3600.0)
    send(dispatcher, "first")
    asked = published()
    for at in range(50):
        send(dispatcher, f"job {at}")

    assert asked == 1
    assert published() == asked


def test_a_heartbeat_asks_again(dispatcher: Any, published: Any) -> None:
    send(dispatcher, "first")
    before = published()
    dispatcher.send("worker-heartbeat")

    assert published() == before + 2


def test_whoever_listens_hears_all_after_the_first_heartbeat(
    redis_url: str, dispatcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_ASK_SECONDS", 3600.0)
    send(dispatcher, "unheard")
    heard: list[str] = []
    monitor = make_app(Settings.model_validate({"redis_url": redis_url}))
    with monitor.connection_for_read() as given, redis.Redis.from_url(redis_url) as server:
        receiver = monitor.events.Receiver(
            given, handlers={"task-received": lambda event: heard.append(event["uuid"])}
        )
        with receiver.consumer_context() as (connection, _, _):
            while not server.pubsub_channels() and not server.pubsub_numpat():
                with suppress(TimeoutError):
                    connection.drain_events(timeout=0.1)  # kombu subscribes when it first waits
            send(dispatcher, "before the first heartbeat")
            dispatcher.send("worker-heartbeat")
            for at in range(3):
                send(dispatcher, f"job {at}")
            while len(heard) < 3:
                connection.drain_events(timeout=20)

    assert heard == ["job 0", "job 1", "job 2"]


def test_without_heartbeats_an_event_asks_now_and_then(
    dispatcher: Any, published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_ASK_SECONDS", 0.0)
    for at in range(5):
        send(dispatcher, f"job {at}")

    assert published() == 5


def test_on_kombus_own_transport_all_are_sent(redis_url: str, published: Any) -> None:
    app = make_worker_app(Settings.model_validate({"redis_url": redis_url, "transport": "stock"}))
    with app.connection_for_write() as connection:
        dispatcher = app.events.Dispatcher(connection, hostname="w@host", buffer_group={"task"})
        for at in range(5):
            send(dispatcher, f"job {at}")

    assert published() == 5
