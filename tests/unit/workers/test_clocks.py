"""The three clocks of a job: one that is too late ends alone, and costs no device time."""

import dataclasses
import time
from datetime import UTC, datetime

from stoker_tasks.errors import Expired, QueueTimeout, RunTimeout
from stoker_tasks.result import Success
from stoker_workers.engine.delivery import Delivery
from tests.doubles.line import Told, delivery, running
from tests.doubles.model import FakeModels
from tests.support.until import until


def timed(words: str, age: float = 0.0, **clocks: object) -> Delivery:
    made = delivery(words)
    kwargs = {"inputs": words, **clocks}
    return dataclasses.replace(made, kwargs=kwargs, submitted=made.submitted - age)


def at(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


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


def test_a_job_whose_time_runs_out_behind_a_batch_costs_no_device_time() -> None:
    told, models = Told(), FakeModels()
    with running(told, models) as flow:
        flow.accept(delivery("sleep=0.4"))
        until(lambda: bool(told.begun))
        flow.accept(timed("one", queue_timeout=0.1))
        flow.accept(timed("two", deadline=at(0.1)))
        flow.accept(delivery("three"))
        until(lambda: len(told.outcomes) == 4)

    assert isinstance(told.outcomes["one"], QueueTimeout)
    assert isinstance(told.outcomes["two"], Expired)
    assert isinstance(told.outcomes["three"], Success)
    assert models.model.batches == [[1], [1]]
    assert told.begun == ["sleep=0.4", "three"]


def test_between_two_steps_a_late_row_ends_alone_and_at_once() -> None:
    told, models = Told(), FakeModels()
    with running(told, models) as flow:
        flow.accept(delivery("sleep=0.2"))
        until(lambda: bool(told.begun))
        flow.accept(timed("steps=60 run", run_timeout=0.2))
        flow.accept(timed("steps=60 deadline", deadline=at(0.5)))
        flow.accept(delivery("steps=0.8"))
        until(lambda: len(told.outcomes) == 4)

    late, past = told.outcomes["steps=60 run"], told.outcomes["steps=60 deadline"]
    assert isinstance(late, RunTimeout)
    assert late.details == {"phase": "run", "clock": "run_timeout", "seconds": 0.2}
    assert isinstance(past, Expired)
    assert past.details["phase"] == "run"
    assert isinstance(told.outcomes["steps=0.8"], Success)
    assert sorted(models.model.batches[1]) == [1, 2, 2]
    # Their results were there while the neighbour still ran.
    assert list(told.outcomes)[-1] == "steps=0.8"


def test_a_result_that_comes_too_late_is_not_stored() -> None:
    told = Told()
    with running(told) as flow:
        flow.accept(timed("sleep=0.4", run_timeout=0.1))
        until(lambda: len(told.outcomes) == 1)

    assert isinstance(told.outcomes["sleep=0.4"], RunTimeout)
