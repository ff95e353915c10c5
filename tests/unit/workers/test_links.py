"""A server that is away for a while fails no job whose links it is to take, and loses no link."""

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import redis
from celery import chain, chord, group
from celery.app.task import Context
from celery.canvas import Signature
from celery.result import AsyncResult
from kombu import Connection, pools
from kombu.exceptions import OperationalError

from stoker import TextClassification
from stoker_config import keys
from stoker_tasks.errors import InvalidInput
from stoker_workers.broker.links import is_away
from tests.unit.workers.test_fast_lane import Broker, broker, success

__all__ = ["broker"]


def ended(broker: Broker, job_id: str) -> str:
    """Give a job's final state; '' if it has none."""
    stored = broker.server.get(keys.result(job_id))
    return "" if stored is None else str(json.loads(stored)["status"])


@pytest.fixture(autouse=True)
def silent_results(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep Celery's results from opening connections when they are thrown away."""
    monkeypatch.setattr(AsyncResult, "__del__", lambda _: None)
    yield
    gc.collect()


@contextmanager
def links_go_nowhere(broker: Broker) -> Iterator[None]:
    """Have the worker send its links to a server that is not there."""
    with pytest.MonkeyPatch.context() as patch:
        once = {"max_retries": 1, "interval_start": 0, "interval_step": 0}
        nobody = pools.producers[Connection("redis://127.0.0.1:1/0", transport_options=once)]
        patch.setattr(broker.app.amqp, "_producer_pool", nobody)
        yield


def signed(broker: Broker, inputs: str | None = "x") -> Signature:
    if inputs is None:
        return broker.client.signature("text-classification")
    return broker.client.signature(TextClassification(inputs=inputs))


def in_chain(broker: Broker) -> str:
    return str(chain(signed(broker), signed(broker, None)).apply_async().id)


def with_callback(broker: Broker) -> str:
    first, second = signed(broker), signed(broker, None)
    second.freeze()
    first.link(second)
    first.apply_async()
    return str(second.id)


@pytest.mark.parametrize("submit", [in_chain, with_callback])
def test_a_job_whose_link_cannot_be_sent_goes_back(
    broker: Broker, submit: Callable[[Broker], str]
) -> None:
    link = submit(broker)
    request, neighbour = broker.take(), broker.request()

    with links_go_nowhere(broker):
        broker.end_all({request: success(), neighbour: success()})

    assert ended(broker, neighbour.id) == "SUCCESS"
    assert ended(broker, request.id) == ended(broker, link) == ""
    again = broker.take()
    assert again.id == request.id
    broker.end_all({again: success()})
    assert ended(broker, request.id) == "SUCCESS"
    assert broker.take().id == link
    assert ended(broker, link) == ""


@contextmanager
def joins_fail(broker: Broker) -> Iterator[None]:
    """Have the server go away when a chord's parts are read, and come back at once."""

    def fail(*_: object) -> None:
        raise redis.ConnectionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker.app.backend, "_chord_publish_claim_expires", fail)
        yield


def in_chord(broker: Broker) -> str:
    parts = [signed(broker, "a"), signed(broker, "b")]
    return str(chord(parts, signed(broker, None)).apply_async().id)


@pytest.mark.parametrize("away", [links_go_nowhere, joins_fail])
def test_a_chord_waits_for_the_server_as_well(
    broker: Broker, away: Callable[[Broker], AbstractContextManager[None]]
) -> None:
    body = in_chord(broker)
    broker.end_all({broker.take(): success()})
    second = broker.take()

    with away(broker):
        broker.end_all({second: success()})

    assert ended(broker, body) == ended(broker, second.id) == ""
    broker.end_all({broker.take(): success()})
    assert ended(broker, second.id) == "SUCCESS"
    assert broker.take().id == body


def test_a_chord_that_has_failed_says_so_although_another_job_goes_back(broker: Broker) -> None:
    body = in_chord(broker)
    in_chain(broker)
    first, second, chained = (broker.take() for _ in range(3))
    broker.end_all({first: InvalidInput("no")})

    with links_go_nowhere(broker):
        broker.end_all({second: success(), chained: success()})

    assert ended(broker, second.id) == "SUCCESS"
    assert ended(broker, body) == "FAILURE"
    assert broker.take().id == chained.id


def test_the_errbacks_of_a_chord_that_has_failed_wait_for_the_server(broker: Broker) -> None:
    errback = signed(broker, "told of it")
    body = signed(broker, None)
    body.link_error(errback)
    body_id = chord([signed(broker, "a"), signed(broker, "b")], body).apply_async().id
    broker.end_all({broker.take(): InvalidInput("no")})
    second = broker.take()

    with links_go_nowhere(broker):
        broker.end_all({second: success()})

    assert ended(broker, body_id) == ended(broker, second.id) == ""
    broker.end_all({broker.take(): success()})
    assert ended(broker, second.id) == "SUCCESS"
    assert ended(broker, body_id) == "FAILURE"
    assert b"ChordError" in broker.server.get(keys.result(body_id))
    assert broker.take() is not None


def test_a_part_that_fails_and_cannot_say_so_leaves_its_chord_to_another_delivery(
    broker: Broker,
) -> None:
    last = signed(broker, "b")
    last.link_error(signed(broker, "told of it"))
    body = chord([signed(broker, "a"), last], signed(broker, None)).apply_async().id
    first, second = broker.take(), broker.take()
    if not second.links["errbacks"]:
        first, second = second, first
    broker.end_all({first: InvalidInput("no")})

    with links_go_nowhere(broker):
        broker.end_all({second: InvalidInput("no"), broker.request(): success()})

    assert ended(broker, body) == ended(broker, second.id) == ""
    broker.end_all({broker.take(): InvalidInput("no")})
    assert ended(broker, second.id) == ended(broker, body) == "FAILURE"


def test_a_chord_that_has_failed_says_so_although_it_was_not_stored_at_first(
    broker: Broker,
) -> None:
    body = in_chord(broker)
    broker.end_all({broker.take(): InvalidInput("no")})
    second = broker.take()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker.app.backend, "_store_or_refuse", refuse)
        with pytest.raises(ValueError, match="no store"):
            broker.end_all({second: success()})

    broker.end_all({broker.take(): success()})

    assert ended(broker, body) == "FAILURE"


def refuse(*_: object) -> None:
    raise ValueError("no store")


def test_the_failure_of_anothers_server_is_a_part_that_has_failed(broker: Broker) -> None:
    parts = [signed(broker, "a"), signed(broker, "b")]
    body = chord(parts, group(signed(broker, None), signed(broker, None))).apply_async()
    bodies = [each.id for each in body.results]
    first, second = broker.take(), broker.take()
    # As the worker of another app tells it of its own task.
    broker.app.backend.mark_as_failure(
        first.id,
        redis.ConnectionError("elsewhere"),
        request=Context(first.request_dict | first.links),
    )

    broker.end_all({second: success()})

    assert ended(broker, second.id) == "SUCCESS"
    assert [ended(broker, each) for each in bodies] == ["FAILURE"] * 2


def test_what_was_stored_of_anothers_server_fails_a_chord_of_chords(broker: Broker) -> None:
    backend = broker.app.backend
    body = signed(broker).set(task_id="body")
    stored = backend.prepare_exception(redis.ConnectionError("elsewhere"))

    with backend.collect() as results:
        try:
            raise backend.exception_to_python(stored)  # by Celery's join of the parts
        except redis.ConnectionError:
            backend.chord_error_from_stack(body)

    assert "body" in results


def wrapped(cause: Exception) -> OperationalError:
    error = OperationalError("in kombu's words")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (redis.ConnectionError(), True),
        (redis.OutOfMemoryError(), True),
        (redis.ReadOnlyError(), True),
        (redis.ResponseError("NOREPLICAS Not enough good replicas to write."), True),
        (redis.ResponseError("Error running script (call to f_1): @user_script: 2: -OOM no"), True),
        (wrapped(redis.TimeoutError()), True),
        (wrapped(ConnectionResetError()), True),
        (wrapped(KeyError("a serializer")), False),
        (OperationalError(), False),
        (redis.ResponseError("WRONGTYPE"), False),
        (ValueError(), False),
    ],
)
def test_what_is_no_servers_absence_fails_the_job(error: Exception, *, away: bool) -> None:
    assert is_away(error) is away


@pytest.mark.parametrize("transaction", [True, False])
def test_a_server_that_takes_no_writes_is_away_for_a_pipeline_too(
    broker: Broker, *, transaction: bool
) -> None:
    broker.server.config_set("min-replicas-to-write", 1)
    try:
        with broker.server.pipeline(transaction=transaction) as pipe:
            pipe.set("a", "b")
            with pytest.raises(redis.ResponseError, match="NOREPLICAS") as raised:
                pipe.execute()
    finally:
        broker.server.config_set("min-replicas-to-write", 0)
    assert is_away(raised.value)
