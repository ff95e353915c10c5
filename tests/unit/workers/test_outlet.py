"""What cannot be ended is given back, and costs no other job its end."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery.exceptions import Reject
from celery.worker import state

from stoker_config import keys
from stoker_config.clock import ServerClock
from stoker_config.settings import Settings
from stoker_workers.broker.concluding import conclude
from stoker_workers.broker.hub import LoopCalls
from stoker_workers.broker.ledger import Ledger
from stoker_workers.broker.outlet import CeleryOutlet
from tests.unit.workers.test_fast_lane import Broker, broker, delivery, success

__all__ = ["broker"]


@pytest.mark.parametrize("refused", ["mget", "zrem"])
def test_what_the_server_refuses_to_end_is_given_back(
    broker: Broker, redis_url: str, refused: str
) -> None:
    broker.server.acl_setuser(
        "half", enabled=True, nopass=True, keys="*", channels="*", commands=["+@all", f"-{refused}"]
    )
    request = broker.request()
    if refused == "zrem":
        broker.server.set(keys.canceled(request.id), "1")
    with (
        redis.Redis.from_url(redis_url, username="half", password="any") as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        broker.end_all({request: success()}, client=client)

    again = broker.connection.default_channel.basic_get("stoker")
    assert again.headers["id"] == request.id
    assert not state.requests


def test_a_job_that_cannot_be_ended_costs_no_other_its_end(broker: Broker) -> None:
    def make_guilty(headers: dict[str, Any]) -> None:
        headers["id"] = "\ud800"

    guilty, innocent = broker.request(make_guilty), broker.request()
    with pytest.raises(UnicodeEncodeError):
        broker.end_all({guilty: success(), innocent: success()})

    assert broker.server.exists(keys.result(innocent.id))
    assert broker.connection.default_channel.basic_get("stoker") is not None
    assert broker.connection.default_channel.basic_get("stoker") is None
    assert not state.requests


@pytest.fixture
def outlet(broker: Broker) -> Iterator[CeleryOutlet]:
    calls, settings = LoopCalls(), Settings.model_validate({})
    yield CeleryOutlet(calls, broker.server, ServerClock(broker.server), settings)
    calls.close()


def test_who_is_blamed_counts_as_running_until_it_is_cleared_or_its_worker_dies(
    broker: Broker, outlet: CeleryOutlet
) -> None:
    job = delivery(broker.request())
    assert outlet.blame(job)
    assert broker.server.zscore(keys.RUNNING, job.id)
    outlet.clear(job)
    assert not broker.server.exists(keys.RUNNING)
    assert outlet.deaths(job).caused is None

    assert outlet.blame(job)
    assert outlet.deaths(job).caused == 1  # it is delivered again: whoever ran it is no more
    assert not broker.server.exists(keys.RUNNING)

    broker.server.set(keys.canceled(job.id), "1")
    assert not outlet.blame(job)


@pytest.mark.parametrize(("transport", "seen"), [("stoker", [0, 0, 3]), ("stock", [1, 2, 6])])
def test_each_time_that_a_job_comes_again_for_reasons_that_nobody_tells_is_counted(
    broker: Broker,
    outlet: CeleryOutlet,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
    seen: list[int],
) -> None:
    job = delivery(broker.request())
    known = Ledger(broker.server, keys.HELD, keys.HELD_MESSAGES, 60.0)
    told = known if transport == "stoker" else None
    monkeypatch.setattr(job.handle.message.channel, "ledger", told, raising=False)

    first = [outlet.deaths(job).beside for _ in range(2)]
    broker.server.incrby(keys.beside(job.id), 3)

    assert [*first, outlet.deaths(job).beside] == seen
    assert outlet.deaths(job).caused is None


def test_a_rejected_job_is_forgotten(broker: Broker) -> None:
    conclude([(broker.request(), (1, Reject(requeue=False), 0.0))])

    assert broker.left()[:3] == (0, 0, 0)
