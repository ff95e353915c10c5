"""The line: what goes in comes out once, in whatever way, and stopping it loses nothing."""

import dataclasses
import threading
import time

from stoker_tasks.errors import Internal, InvalidInput, UnknownTask
from stoker_tasks.result import Success
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.window import Budget
from tests.doubles.line import Told, delivery, running
from tests.doubles.model import FakeModel, FakeModels
from tests.doubles.store import payloads
from tests.support.until import until


def test_each_delivery_has_one_outcome() -> None:
    told = Told()
    with running(told) as flow:
        for at in range(200):
            flow.accept(delivery(f"job {at} " + "word " * (at % 20)))
        until(lambda: len(told.outcomes) == 200)

    assert all(isinstance(outcome, Success) for outcome in told.outcomes.values())
    assert sorted(told.begun) == sorted(told.outcomes)


def test_bad_jobs_fail_alone_and_early() -> None:
    told = Told()
    models = FakeModels()
    with running(told, models) as flow:
        flow.accept(delivery("sleep=0.2"))
        until(lambda: told.begun == ["sleep=0.2"])
        for each in (
            delivery("a"),
            delivery("bad"),
            delivery("x", "stoker.no_task"),
            delivery("fail"),
            delivery("b"),
        ):
            flow.accept(each)
        until(lambda: len(told.outcomes) == 6)

    assert isinstance(told.outcomes["bad"], InvalidInput)
    assert isinstance(told.outcomes["x"], UnknownTask)
    assert isinstance(told.outcomes["fail"], Internal)
    assert isinstance(told.outcomes["a"], Success)
    assert isinstance(told.outcomes["b"], Success)
    assert "bad" not in told.begun


def test_a_refused_delivery_ends_with_its_error() -> None:
    told = Told()
    with running(told) as flow:
        flow.refuse(delivery("x"), InvalidInput("too bad"))
        until(lambda: "x" in told.outcomes)

    assert isinstance(told.outcomes["x"], InvalidInput)


def test_tokenising_goes_on_during_a_forward_pass() -> None:
    seen = threading.Event()

    class Watched(FakeModel):
        def preprocess(self, job, media):  # type: ignore[no-untyped-def]
            if job.inputs == "late":
                seen.set()
            return super().preprocess(job, media)

    told = Told()
    with running(told, FakeModels(Watched())) as flow:
        flow.accept(delivery("sleep=0.5"))
        until(lambda: told.begun == ["sleep=0.5"])
        flow.accept(delivery("late"))
        assert seen.wait(5)
        assert not told.outcomes


def test_stopping_finishes_the_running_batch_and_starts_nothing() -> None:
    told = Told()
    with running(told) as flow:
        flow.accept(delivery("sleep=0.3"))
        until(lambda: told.begun == ["sleep=0.3"])
        for at in range(20):
            flow.accept(delivery(f"late {at}"))

    assert list(told.outcomes) == ["sleep=0.3"]
    assert told.begun == ["sleep=0.3"]


def test_stopping_takes_no_longer_than_it_is_given() -> None:
    told = Told()
    flow = Flow(FakeModels(), payloads(), told, lambda _: Budget(tokens=1024))
    flow.start()
    flow.accept(delivery("sleep=3"))
    until(lambda: bool(told.begun))

    began = time.monotonic()
    assert not flow.stop(0.3)

    assert time.monotonic() - began < 1.0
    assert [each.id for each in flow.interrupted()] == ["sleep=3"]


def test_a_job_of_many_rows_that_is_stopped_half_way_is_known_as_interrupted() -> None:
    told, models = Told(), FakeModels()
    flow = Flow(models, payloads(), told, lambda _: Budget(tokens=1024, rows=1))
    flow.start()
    rows = ["sleep=0.3", "sleep=0.3", "three"]
    flow.accept(dataclasses.replace(delivery("many"), kwargs={"inputs": rows}))
    until(lambda: told.begun == ["many"])

    assert flow.stop(10)

    assert [each.id for each in flow.interrupted()] == ["many"]
    assert not told.outcomes
