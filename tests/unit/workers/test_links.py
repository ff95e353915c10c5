"""A server that is away for a while fails no job whose links it is to take, and loses no link."""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import redis
from celery import chain, chord
from celery.canvas import Signature
from kombu import Connection, pools
from kombu.exceptions import OperationalError

from stoker import TextClassification
from stoker_config import keys
from stoker_workers.broker.links import is_away
from tests.unit.workers.test_fast_lane import Broker, broker, success

__all__ = ["broker"]

# Whatever else lies about when Celery's results are thrown away: see `no_results`.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

AWAY = (OperationalError, redis.ConnectionError)


@pytest.fixture(autouse=True)
def no_results(broker: Broker) -> Iterator[None]:
    """Throw Celery's results away while the server is there, which they talk to then."""
    yield
    gc.collect()


@contextmanager
def links_go_nowhere(broker: Broker) -> Iterator[None]:
    """Have the worker send its links to a server that is not there."""
    with pytest.MonkeyPatch.context() as patch:
        nobody = pools.producers[Connection("redis://127.0.0.1:1/0")]
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

    with links_go_nowhere(broker), pytest.raises(AWAY):
        broker.end_all({request: success(), neighbour: success()})

    assert not broker.server.exists(*map(keys.result, (link, request.id, neighbour.id)))
    again = {request.id: request for request in (broker.take(), broker.take())}
    assert set(again) == {request.id, neighbour.id}
    broker.end_all(dict.fromkeys(again.values(), success()))
    for job in again:
        assert b'"SUCCESS"' in broker.server.get(keys.result(job))
    assert broker.take().id == link
    assert not broker.server.exists(keys.result(link))


@contextmanager
def joins_fail(broker: Broker) -> Iterator[None]:
    """Have the server go away when a chord's parts are read, and come back at once."""

    def fail(*_: object) -> None:
        raise redis.ConnectionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker.app.backend, "_chord_publish_claim_expires", fail)
        yield


@pytest.mark.parametrize("away", [links_go_nowhere, joins_fail])
def test_a_chord_waits_for_the_server_as_well(
    broker: Broker, away: Callable[[Broker], AbstractContextManager[None]]
) -> None:
    parts = [signed(broker, "a"), signed(broker, "b")]
    body = chord(parts, signed(broker, None)).apply_async().id
    first, second = broker.take(), broker.take()
    broker.end_all({first: success()})

    with away(broker), pytest.raises(AWAY):
        broker.end_all({second: success()})

    assert not broker.server.exists(keys.result(body), keys.result(second.id))
    broker.end_all({broker.take(): success()})
    assert b'"SUCCESS"' in broker.server.get(keys.result(second.id))
    assert broker.take().id == body


def wrapped(cause: Exception) -> OperationalError:
    error = OperationalError("in kombu's words")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (redis.ConnectionError(), True),
        (redis.OutOfMemoryError(), True),
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
