"""The line: what goes in comes out once, in whatever way, and stopping it loses nothing."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

from stoker_tasks.errors import Internal, InvalidInput, UnknownTask
from stoker_tasks.result import Success
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.window import Budget
from tests.doubles.line import Told, delivery, hold, running, share
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
        flow.accept(delivery("bad"))
        flow.accept(delivery("x", "stoker.no_task"))
        share(flow, models.model, *map(delivery, ("a", "fail", "b")))
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

    told, model = Told(), Watched()
    with running(told, FakeModels(model)) as flow:
        hold(flow)
        flow.accept(delivery("late"))
        assert seen.wait(60)
        assert not told.outcomes
        model.go.set()


def stop(flow: Flow, model: FakeModel) -> bool:
    """Stop a line whose device is held, and let it go only then; gives what `stop` gave."""
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(flow.stop, 15)
        until(flow._line.stopping.is_set)
        model.go.set()
        return stopped.result()


def test_stopping_finishes_the_running_batch_and_starts_nothing() -> None:
    told, models = Told(), FakeModels()
    with running(told, models) as flow:
        hold(flow, *(delivery(f"late {at}") for at in range(20)))
        assert stop(flow, models.model)

    assert list(told.outcomes) == ["hold"]
    assert told.begun == ["hold"]


def test_stopping_takes_no_longer_than_it_is_given() -> None:
    told, models = Told(), FakeModels()
    flow = Flow(models, payloads(), told, lambda _: Budget(tokens=1024))
    flow.start()
    hold(flow)

    # The pass takes longer: it ends when this has returned.
    assert not flow.stop(0.3)

    assert not told.outcomes
    assert [each.id for each in flow.interrupted()] == ["hold"]
    models.model.go.set()


def test_a_job_of_many_rows_that_is_stopped_half_way_is_known_as_interrupted() -> None:
    told, models = Told(), FakeModels()
    flow = Flow(models, payloads(), told, lambda _: Budget(tokens=1024, rows=1))
    flow.start()
    rows = ["hold", "two", "three"]
    flow.accept(dataclasses.replace(delivery("many"), kwargs={"inputs": rows}))
    until(lambda: told.begun == ["many"])

    assert stop(flow, models.model)

    assert [each.id for each in flow.interrupted()] == ["many"]
    assert not told.outcomes
