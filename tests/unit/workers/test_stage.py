"""Stages whose threads die: their jobs go back, they start again, and a broken worker ends."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from stoker_tasks.job import Job
from stoker_tasks.result import Success
from stoker_workers.engine import stage
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.model import Output, Prepared
from stoker_workers.engine.window import Budget
from tests.doubles.line import Told, delivery, running, share
from tests.doubles.model import FakeModel, FakeModels
from tests.doubles.store import payloads
from tests.support.until import until


@pytest.mark.parametrize("name", ["preprocess", "forward", "postprocess"])
def test_a_stage_that_dies_gives_its_job_back_and_goes_on(name: str) -> None:
    told, changed = Told(), []
    with running(told) as flow:
        flow.listen(lambda: changed.append(flow.ailing()))
        flow.accept(delivery(f"exit={name}"))
        until(lambda: bool(told.back))
        flow.accept(delivery("after"))
        until(lambda: "after" in told.outcomes)

        assert told.back == [([f"exit={name}"], [f"exit={name}"], True)]
        assert flow.trouble(60) is None
        assert flow.ailing() == changed[0] == f"the stage {name} died 1 times within a minute"

    assert isinstance(told.outcomes["after"], Success)
    assert flow.interrupted() == []


def test_of_a_batch_all_are_suspects_and_none_is_guilty() -> None:
    told, models = Told(), FakeModels()
    with running(told, models) as flow:
        words = ["one", "exit=forward", "two"]
        share(flow, models.model, *map(delivery, words))
        until(lambda: bool(told.back))

    [(back, suspects, guilty)] = told.back
    assert sorted(back) == sorted(suspects) == sorted(words)
    assert not guilty


def test_of_a_bunch_the_one_that_was_made_ready_is_guilty() -> None:
    words, reached = ["one", "exit=postprocess", "two"], threading.Event()

    class Slow(FakeModel):
        """Makes the first job's output when the others have gathered behind it."""

        def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
            if outputs == ["first"]:
                reached.set()
                until(lambda: flow._line.done.qsize() == len(words))
            return super().postprocess(job, prepared, outputs)

    told = Told()
    with running(told, FakeModels(Slow())) as flow:
        flow.accept(delivery("first"))
        assert reached.wait(60)
        for each in words:
            flow.accept(delivery(each))
        until(lambda: bool(told.back))

    [(back, suspects, guilty)] = told.back
    assert sorted(back) == sorted(words)
    assert (suspects, guilty) == (["exit=postprocess"], True)
    assert list(told.outcomes) == ["first"]


def test_a_stage_that_dies_again_and_again_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_LONGEST_PAUSE", 0.01)
    told = Told()
    flow = Flow(FakeModels(), payloads(), told, lambda _: Budget(tokens=1024))
    flow.start()
    for at in range(8):
        assert flow.trouble(60) is None
        flow.accept(delivery(f"exit=preprocess {at}"))
        until(lambda count=at + 1: len(told.back) == count)  # type: ignore[misc]

    until(lambda: flow.trouble(60) == "the stage preprocess ended")
    flow.stop(1)


class Slow(FakeModel):
    def is_slow(self, job: Job) -> bool:
        return True


@pytest.mark.parametrize("where", ["preprocess", "postprocess"])
@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("model", [FakeModel, Slow])
def test_a_models_code_that_hangs_is_trouble(
    where: str, model: type[FakeModel], *, watched: bool
) -> None:
    told, models = Told(), FakeModels(model())
    words = f"hang={where}"
    told.beside = {words: 2} if watched else {}
    with running(told, models) as flow:
        flow.accept(delivery("first"))
        until(lambda: "first" in told.outcomes)
        assert flow.trouble(0.05) is None
        flow.accept(delivery(words, redelivered=watched))
        until(lambda: flow.trouble(0.05) == f"a job has been {where}ed for more than 0.05 s")
        assert flow.trouble(60) is None
        models.model.go.set()
        until(lambda: words in told.outcomes)
        assert flow.trouble(0.05) is None


def test_jobs_that_cannot_go_back_end_the_worker() -> None:
    class Away(Told):
        def returned(self, *_: object, **__: object) -> None:
            raise ConnectionError("the server is away")

    flow = Flow(FakeModels(), payloads(), Away(), lambda _: Budget(tokens=1024))
    flow.start()
    flow.accept(delivery("exit=forward"))

    until(lambda: flow.trouble(60) == "the stage forward ended")
    flow.stop(1)


def test_a_lost_device_ends_the_worker_at_once() -> None:
    told = Told()
    flow = Flow(FakeModels(), payloads(), told, lambda _: Budget(tokens=1024))
    flow.start()
    flow.accept(delivery("fault"))

    until(lambda: flow.trouble(60) == "the stage forward ended")
    assert told.back == []
    flow.stop(1)
