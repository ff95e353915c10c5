"""The three clocks of a job: one that is too late ends alone, and costs no device time."""

import dataclasses
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from stoker_tasks.errors import Expired, QueueTimeout, RunTimeout
from stoker_tasks.result import Success
from stoker_workers.engine import clocks
from stoker_workers.engine.delivery import Delivery
from tests.doubles.line import Told, delivery, hold, running, share
from tests.doubles.model import FakeModels
from tests.support.until import until


def timed(words: str, age: float = 0.0, **clocks: object) -> Delivery:
    made = delivery(words)
    kwargs = {"inputs": words, **clocks}
    return dataclasses.replace(made, kwargs=kwargs, submitted=made.submitted - age)


def at(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


class Clock:
    """What the clocks of jobs read: a test moves it ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(clocks, "time", clock)
    return clock


def test_a_job_that_has_waited_too_long_is_not_even_preprocessed() -> None:
    told, models = Told(), FakeModels()
    with running(told, models) as flow:
        flow.accept(timed("bad", age=10, queue_timeout=5))
        flow.accept(timed("bad too", deadline=at(-1)))
        flow.accept(timed("in time", age=10, queue_timeout=60, deadline=at(60)))
        until(lambda: len(told.outcomes) == 3)

    late, past = told.outcomes["bad"], told.outcomes["bad too"]
    assert isinstance(late, QueueTimeout)
    assert late.details == {"phase": "queue", "clock": "queue_timeout", "seconds": 5.0}
    assert isinstance(past, Expired)
    assert (past.details["phase"], past.details["clock"]) == ("queue", "deadline")
    assert isinstance(told.outcomes["in time"], Success)


def test_a_job_whose_time_runs_out_behind_a_batch_costs_no_device_time(clock: Clock) -> None:
    told, models = Told(), FakeModels()
    with running(told, models) as flow:
        both = (timed("one", queue_timeout=60), timed("two", deadline=at(60)))
        hold(flow, *both, delivery("three"))
        clock.ahead = 100.0
        models.model.go.set()
        until(lambda: len(told.outcomes) == 4)

    assert isinstance(told.outcomes["one"], QueueTimeout)
    assert isinstance(told.outcomes["two"], Expired)
    assert isinstance(told.outcomes["three"], Success)
    assert models.model.batches == [[1], [1]]
    assert told.begun == ["hold", "three"]


def test_between_two_steps_a_late_row_ends_alone_and_at_once(clock: Clock) -> None:
    class Slow(Told):
        """Time passes once all of a pass have started."""

        def started(self, deliveries: Sequence[Delivery]) -> None:
            super().started(deliveries)
            clock.ahead = 100.0 if len(self.begun) == 4 else 0.0

    told, models = Slow(), FakeModels()
    with running(told, models) as flow:
        both = (timed("steps=60 run", run_timeout=50), timed("steps=60 deadline", deadline=at(60)))
        share(flow, models.model, *both, delivery("steps=0.3"))
        until(lambda: len(told.outcomes) == 4)

    late, past = told.outcomes["steps=60 run"], told.outcomes["steps=60 deadline"]
    assert isinstance(late, RunTimeout)
    assert late.details == {"phase": "run", "clock": "run_timeout", "seconds": 50.0}
    assert isinstance(past, Expired)
    assert past.details["phase"] == "run"
    assert isinstance(told.outcomes["steps=0.3"], Success)
    assert sorted(models.model.batches[1]) == [1, 2, 2]
    # Their results were on their way while the neighbour still ran.
    assert list(told.outcomes)[-1] == "steps=0.3"


def test_a_result_that_comes_too_late_is_not_stored() -> None:
    told = Told()
    with running(told) as flow:
        flow.accept(timed("sleep=0.4", run_timeout=0.1))
        until(lambda: len(told.outcomes) == 1)

    assert isinstance(told.outcomes["sleep=0.4"], RunTimeout)
