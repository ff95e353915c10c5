"""A stock producer's job is known as queued from its arrival on, and not after its end."""

from collections.abc import Callable, Iterator
from math import inf, nan
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from stoker_config import keys
from stoker_config.clock import ServerClock
from stoker_tasks.wire import SUBMITTED_HEADER
from stoker_workers.broker.intake import Accept, Intake
from stoker_workers.broker.tasks import PipelineTask
from stoker_workers.engine.delivery import Delivery


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def foreign(job_id: str, submitted: Any = None) -> Any:
    return SimpleNamespace(
        id=job_id,
        task=PipelineTask(),
        type="stoker.text_classification",
        args=(),
        kwargs={"inputs": "x"},
        request_dict={SUBMITTED_HEADER: submitted},
        message=SimpleNamespace(body=b"", channel=None),
        listener=None,
        ignore_result=False,
        delivery_info={},
        revoked=lambda: False,
        ended=False,
    )


def make_intake(server: Any, accept: Accept, put: Callable[[Any], None]) -> Intake:
    return Intake(
        accept,
        lambda _delivery, _error: None,
        lambda _: None,
        SimpleNamespace(put=put),  # type: ignore[arg-type]
        server,
        ServerClock(server),
        1000,
    )


def test_a_job_that_ends_before_its_registration_is_not_left_as_queued(server: Any) -> None:
    calls: list[Callable[[], None]] = []

    def accept(delivery: Delivery) -> None:
        # As the engine's threads may, before the event loop comes to the registration.
        delivery.handle.ended = delivery.id == "quick"

    intake = make_intake(server, accept, calls.append)
    for job_id in ("quick", "slow"):
        intake(foreign(job_id))
    for call in calls:
        call()

    assert server.hkeys(keys.JOBS) == ["slow"]


@pytest.mark.parametrize("submitted", [inf, -inf, nan, "1", None])
def test_what_is_no_time_counts_from_the_arrival(server: Any, submitted: Any) -> None:
    taken: list[Delivery] = []
    before = ServerClock(server).now()

    make_intake(server, taken.append, lambda _: None)(foreign("job", submitted))

    assert before - 1 < taken[0].submitted < before + 60
    assert taken[0].handle.submitted_at == taken[0].submitted


@pytest.mark.parametrize(
    ("priority", "step"), [(None, 0), ("9", 0), (-5, 0), (2, 0), (3, 3), (8, 6), (9, 9), (10**9, 9)]
)
def test_a_priority_is_that_of_its_list_lest_there_be_more_than_take_turns(
    server: Any, priority: Any, step: int
) -> None:
    taken: list[Delivery] = []
    request = foreign("job")
    request.delivery_info["priority"] = priority

    make_intake(server, taken.append, lambda _: None)(request)

    assert taken[0].priority == step
