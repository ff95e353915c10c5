"""What cannot be ended is given back, and costs no other job its end."""

from typing import Any

import pytest
import redis
from celery.exceptions import Reject
from celery.worker import state

from stoker_config import keys
from stoker_workers.broker.concluding import conclude
from tests.unit.workers.test_fast_lane import Broker, broker, success

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


def test_a_rejected_job_is_forgotten(broker: Broker) -> None:
    conclude([(broker.request(), (1, Reject(requeue=False), 0.0))])

    assert broker.left()[:3] == (0, 0, 0)
