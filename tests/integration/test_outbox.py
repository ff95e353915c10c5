"""What a job's webhook tells is in the outbox when, and only when, its result is stored."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from stoker import Client, TextClassification, errors
from stoker_config import keys
from stoker_tasks.event import event_id
from stoker_tasks.job import Job
from stoker_tasks.webhook import Webhook
from tests.doubles.stock import CLASSIFY, Producer
from tests.support.until import until
from tests.support.worker import Worker

pytestmark = [pytest.mark.usefixtures("module_worker"), pytest.mark.both_transports]

URL = "http://127.0.0.1:9/hook?token=s3cr3t"
ALL: Any = ("job.started", "job.completed")


@pytest.fixture
def server(module_redis: str) -> Iterator[Any]:
    with redis.Redis.from_url(module_redis, decode_responses=True) as client:
        yield client


def told(server: Any, job_id: str, type: Any = "job.completed") -> dict[str, Any]:
    """Read an event, with its body parsed."""
    event = server.hgetall(keys.event(event_id(job_id, type)))
    return {**event, "body": json.loads(event["body"])} if event else {}


def state(server: Any, job_id: str) -> str:
    """Wait for the end of a job, and read the state that was told."""
    until(lambda: told(server, job_id))
    return str(told(server, job_id)["body"]["data"]["state"])


def text(words: str, **fields: Any) -> Job:
    return TextClassification(inputs=words, webhook=Webhook(url=URL, events=ALL), **fields)


def test_a_job_tells_its_start_and_its_end(module_client: Client, server: Any) -> None:
    handle = module_client.submit(text("hello", metadata={"order": "7"}))
    result = handle.result(timeout=20)

    end, start = told(server, handle.id), told(server, handle.id, "job.started")
    assert (end["url"], end["origin"], end["state"]) == (URL, "http://127.0.0.1:9", "pending")
    assert end["body"]["data"]["result"]["output"] == result.output
    assert end["body"]["data"]["metadata"] == {"order": "7"}
    assert start["body"]["data"]["state"] == "running"
    assert {end["job"], start["job"]} == {handle.id}
    for event in (event_id(handle.id, type) for type in ALL):
        assert server.zscore(keys.PENDING, event)
        assert server.zscore(keys.due("http://127.0.0.1:9"), event)
        assert server.ttl(keys.event(event)) > 0
    assert not server.hexists(keys.WISHES, handle.id)


def test_each_end_is_told(module_client: Client, server: Any) -> None:
    # While it runs, the others share no batch with it.
    busy = module_client.submit(text("steps=20"))
    until(lambda: busy.status().state == "running")
    handles = {
        "failed": module_client.submit(text("bad")),
        "canceled": module_client.submit(text("never")),
    }
    handles["canceled"].cancel()
    busy.cancel()

    assert {each: state(server, handle.id) for each, handle in handles.items()} == {
        each: each for each in handles
    }
    # This one ran when it was canceled.
    assert state(server, busy.id) == "canceled"
    assert told(server, busy.id, "job.started")
    assert not told(server, handles["canceled"].id, "job.started")
    error = told(server, handles["failed"].id)["body"]["data"]["result"]
    assert error["error"] == errors.ErrorType.INVALID_INPUT
    assert server.hlen(keys.WISHES) == 0


def test_a_job_that_expires_tells_it(module_client: Client, server: Any) -> None:
    handle = module_client.submit(text("late"), expires=-1)

    assert state(server, handle.id) == "expired"


def test_a_stock_producers_job_tells_its_end(stock: Producer, server: Any) -> None:
    good = stock.send_task(CLASSIFY, kwargs={"inputs": "x", "webhook": URL})
    bad = stock.send_task(CLASSIFY, kwargs={"inputs": "x", "webhook": URL, "nonsense": 1})
    unread = stock.send_task(CLASSIFY, kwargs={"inputs": "x", "webhook": URL}, ignore_result=True)

    assert state(server, good) == "succeeded"
    assert state(server, bad) == "failed"
    assert state(server, unread) == "succeeded"
    assert not server.exists(keys.result(unread))


def test_a_stock_producers_waiting_job_can_be_canceled_and_tells_it(
    stock: Producer, module_client: Client, server: Any
) -> None:
    busy = module_client.submit(TextClassification(inputs="steps=20"))
    until(lambda: busy.status().state == "running")
    waiting = stock.send_task(CLASSIFY, kwargs={"inputs": "x", "webhook": URL})
    until(lambda: module_client.status(waiting).state == "queued")

    assert module_client.cancel(waiting) == "canceled"
    assert state(server, waiting) == "canceled"
    busy.cancel()
    busy.wait(timeout=20)


def test_a_webhook_that_cannot_be_told_fails_its_job_alone(stock: Producer, server: Any) -> None:
    wrong = stock.send_task(CLASSIFY, kwargs={"inputs": "x", "webhook": "ftp://s3cr3t"})

    raised = stock.get(wrong)

    assert raised.type == "InvalidInput"
    assert "http:// or https://" in raised.text
    assert "s3cr3t" not in raised.text
    assert not told(server, wrong)


def test_jobs_without_a_webhook_leave_nothing(module_client: Client, server: Any) -> None:
    before = set(server.keys("stoker:webhook*"))

    for handle in module_client.submit_many([TextClassification(inputs="x") for _ in range(20)]):
        handle.result(timeout=20)

    assert set(server.keys("stoker:webhook*")) == before


def test_no_log_line_quotes_an_endpoint(module_worker: Worker) -> None:
    assert "s3cr3t" not in module_worker.lines()


def test_deleting_a_job_deletes_what_was_told_of_it(module_client: Client, server: Any) -> None:
    handle = module_client.submit(text("hello"))
    handle.result(timeout=20)
    start, end = (event_id(handle.id, type) for type in ALL)
    # As if a courier had delivered it.
    server.hset(keys.event(start), "state", "delivered")
    server.zrem(keys.PENDING, start)
    server.zadd(keys.DELIVERED, {start: 1.0})

    handle.delete()

    assert not server.exists(keys.event(start))
    assert server.zscore(keys.DELIVERED, start) is None
    # Its receiver waits for this one.
    assert [each.id for each in module_client.webhooks.list(job=handle.id)] == [end]
