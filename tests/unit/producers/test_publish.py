"""What `publish` pushes is what Celery would push: held against `send_task`, field by field."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import redis
from celery import Celery

from stoker.bounds import Bounds
from stoker.message import Message
from stoker.publish import publish
from stoker_config import keys
from stoker_config.app import make_app
from stoker_config.keys import PRIORITY_STEPS
from stoker_config.settings import Settings
from stoker_tasks.job import Priority
from stoker_tasks.wire import (
    CONTRACT_HEADER,
    HIDDEN,
    PRIORITIES,
    SUBMITTED_HEADER,
    celery_name,
    queue_name,
)

KWARGS: Final = {
    "inputs": "Grüße, ‘quoted’ \u2028 \x00 <id><body>",
    "model": "org/name",
    "parameters": {"top_k": 2, "<kwargs>": [float("inf"), 2**70, 1e-7, -0.0, None, True, {}]},
}
# Stoker's own, on top of Celery's.
OWN: Final = {CONTRACT_HEADER, SUBMITTED_HEADER}


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    with make_app(Settings.model_validate({"redis_url": redis_url})) as app:
        yield app


@pytest.fixture
def server(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def pop(server: Any, pool: str, priority: Priority) -> dict[str, Any]:
    """Take the one message of a list, its body decoded."""
    key = keys.queue(queue_name(pool), PRIORITIES[priority], PRIORITY_STEPS)
    assert server.llen(key) == 1
    envelope: dict[str, Any] = json.loads(server.rpop(key))
    envelope["body"] = json.loads(base64.b64decode(envelope["body"]))
    return envelope


def strip_times(headers: dict[str, Any]) -> dict[str, datetime]:
    """Take the times out of a message's headers."""
    times = {name: headers.pop(name) for name in ("eta", "expires") if headers[name] is not None}
    return {name: datetime.fromisoformat(value) for name, value in times.items()}


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
@pytest.mark.parametrize("pool", ["default", "narrow"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"countdown": 30.5},
        {"expires": 60},
        {"countdown": 30, "expires": datetime.now(UTC) + timedelta(hours=1)},
    ],
    ids=["plain", "countdown", "expires", "both"],
)
def test_the_envelope_is_celerys(
    app: Celery, server: Any, priority: Priority, pool: str, options: dict[str, Any]
) -> None:
    app.send_task(
        celery_name("text-classification"),
        kwargs=KWARGS,
        task_id="an-id",
        queue=queue_name(pool),
        priority=PRIORITIES[priority],
        **options,
    )
    celerys = pop(server, pool, priority)
    message = Message(
        id="an-id",
        task="text-classification",
        kwargs=KWARGS,
        pool=pool,
        priority=priority,
        **options,
    )

    publish(app, server, [message], time.time(), Bounds())

    ours = pop(server, pool, priority)
    shown = {"argsrepr": HIDDEN, "kwargsrepr": HIDDEN}
    assert ours["headers"].items() >= shown.items()
    celerys["headers"].update(shown)
    assert {name: ours["headers"].pop(name) for name in OWN}.keys() == OWN
    tags = [each["properties"].pop("delivery_tag") for each in (celerys, ours)]
    assert tags[0] != tags[1]
    # To this address results would go that do not go to Redis.
    celerys["properties"].pop("reply_to")
    ours["properties"].pop("reply_to")
    # RabbitMQ drops messages by this property. Redis does not: workers go by the header.
    celerys["properties"].pop("expiration", None)
    times, own_times = strip_times(celerys["headers"]), strip_times(ours["headers"])
    assert (
        times.keys()
        == own_times.keys()
        == {{"countdown": "eta"}.get(name, name) for name in options}
    )
    for name, at in times.items():
        assert abs(own_times[name] - at) < timedelta(seconds=10)
        assert own_times[name].tzinfo == at.tzinfo
    assert ours == celerys


def test_jobs_are_known_as_queued_from_the_moment_they_are_there(app: Celery, server: Any) -> None:
    messages = [
        Message(id=f"job-{n}", task="fill-mask", kwargs=KWARGS, pool="default", priority="normal")
        for n in range(1201)
    ]

    publish(app, server, messages, 12.5, Bounds())

    key = keys.queue("stoker", PRIORITIES["normal"], PRIORITY_STEPS)
    sent = [json.loads(each)["headers"]["id"] for each in server.lrange(key, 0, -1)]
    assert sent == [message.id for message in reversed(messages)]
    assert {each.decode() for each in server.hkeys(keys.JOBS)} == set(sent)
    assert json.loads(server.hget(keys.JOBS, "job-7")) == [12.5, "default", "fill-mask", "org/name"]


def test_a_message_shows_nothing_of_its_job(app: Celery, server: Any) -> None:
    message = Message(
        id="an-id", task="fill-mask", kwargs=KWARGS, pool="default", priority="normal"
    )

    publish(app, server, [message], time.time(), Bounds())

    assert "Grüße" not in repr(message)
    headers = pop(server, "default", "normal")["headers"]
    assert (headers["argsrepr"], headers["kwargsrepr"]) == (HIDDEN, HIDDEN)
