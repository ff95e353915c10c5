"""A job that workers keep dying with is preprocessed with nothing beside it, and blamed alone."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import pytest

from stoker_tasks.errors import InvalidInput, ModelLoadFailed
from stoker_tasks.job import Job
from stoker_tasks.result import Success
from stoker_workers.engine import shelf
from stoker_workers.engine.delivery import Delivery
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.model import ModelKey, Prepared, WarmModel
from stoker_workers.engine.progress import Course, Progress
from stoker_workers.engine.served import ServedModels
from stoker_workers.engine.warm import WarmModels
from stoker_workers.engine.window import Budget
from tests.doubles.line import Told, delivery, hold, running
from tests.doubles.model import FakeModel, FakeModels
from tests.doubles.store import payloads
from tests.support.until import until


def suspect(words: str, task: str = "stoker.text_classification") -> Delivery:
    return delivery(words, task, redelivered=True)


@dataclass
class Seeing(FakeModel):
    """Notes for each job what was the case when it was preprocessed."""

    told: Told = field(default_factory=Told)
    go: threading.Event = field(default_factory=threading.Event)
    ended: dict[str, set[str]] = field(default_factory=dict)
    blamed: dict[str, list[str]] = field(default_factory=dict)
    threads: dict[str, str] = field(default_factory=dict)

    def is_slow(self, job: Job) -> bool:
        return "page" in job.inputs

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        words = job.inputs
        self.ended[words] = set(self.told.outcomes)
        self.blamed[words] = [each for each in self.told.blamed if each not in self.told.cleared]
        self.threads[words] = threading.current_thread().name
        if words == "page":
            assert self.go.wait(20)
        return super().preprocess(job, media)


def test_a_suspect_waits_until_nothing_is_at_work_and_is_blamed_alone() -> None:
    told = Told()
    model = Seeing(told=told)
    told.beside = {"suspect page": 2, "innocent": 1}
    with running(told, FakeModels(model)) as flow:
        flow.accept(delivery("page"))
        flow.accept(delivery("sleep=0.3"))
        until(lambda: bool(told.begun) and "page" in model.threads)
        flow.accept(suspect("suspect page"))
        flow.accept(suspect("innocent"))
        flow.accept(delivery("new"))
        until(lambda: "sleep=0.3" in told.outcomes)
        assert "suspect page" not in model.threads
        model.go.set()
        until(lambda: len(told.outcomes) == 5)

    assert model.ended["suspect page"] == {"sleep=0.3"}
    assert model.threads["suspect page"] == "stoker-preprocess"
    assert model.blamed.pop("suspect page") == ["suspect page"]
    assert not any(model.blamed.values())
    assert told.blamed == told.cleared == ["suspect page"]
    assert all(isinstance(each, Success) for each in told.outcomes.values())


def test_suspects_that_come_together_are_cleared_one_by_one_and_share_a_batch() -> None:
    told = Told()
    model = Seeing(told=told)
    names = [f"job {at}" for at in range(20)]
    told.beside = dict.fromkeys([*names, "bad"], 2)
    flow = Flow(FakeModels(model), payloads(), told, lambda _: Budget(tokens=1024))
    flow.accept(delivery("sleep=0.3"))
    for name in (*names[:10], "bad", *names[10:]):
        flow.accept(suspect(name))
    flow.start()
    until(lambda: len(told.outcomes) == 22)
    assert flow.stop(10)

    assert [model.blamed[name] for name in names] == [[name] for name in names]
    assert all("sleep=0.3" in model.ended[name] for name in names)
    assert sorted(told.cleared) == sorted([*names, "bad"])
    assert isinstance(told.outcomes["bad"], InvalidInput)
    assert max(map(len, model.batches)) > 5


def test_a_suspect_that_nobody_waits_for_is_not_preprocessed() -> None:
    told = Told()
    model = Seeing(told=told)
    told.beside, told.unwanted = {"suspect": 2}, {"suspect"}
    with running(told, FakeModels(model)) as flow:
        flow.accept(suspect("suspect"))
        flow.accept(delivery("other"))
        until(lambda: "other" in told.outcomes)

    assert told.gone == ["suspect"]
    assert list(model.threads) == ["other"]


def test_a_suspect_is_not_begun_while_another_model_is_loaded() -> None:
    class Slow(FakeModels):
        loading: "Future[WarmModel]" = Future()

        def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
            return self.loading if key.task == "fill-mask" else super().get(key)

    told, models = Told(), Slow()
    told.beside = {"suspect": 2}
    with running(told, models) as flow:
        flow.accept(delivery("masked", "stoker.fill_mask"))
        flow.accept(suspect("suspect"))
        flow.accept(delivery("other"))
        until(lambda: "other" in told.outcomes)
        assert not told.blamed
        models.loading.set_result(FakeModel())
        until(lambda: len(told.outcomes) == 3)

    assert told.cleared == ["suspect"]


def test_a_suspect_does_not_wait_for_ever_beside_a_load_that_kills() -> None:
    class Endless(FakeModels):
        def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
            return Future() if key.task == "fill-mask" else super().get(key)

    told = Told()
    told.beside = {"suspect": 5}
    with running(told, Endless()) as flow:
        flow.accept(delivery("masked", "stoker.fill_mask"))
        flow.accept(suspect("suspect"))
        until(lambda: "suspect" in told.outcomes)

    assert set(told.blamed) == set(told.cleared) == {"suspect"}


def test_a_suspect_that_waits_for_loads_keeps_no_model_from_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shelf, "TURN", 0.0)
    go = threading.Event()

    def load(key: ModelKey, progress: Progress) -> Course:
        size = 1 if key.model == "small" else 60
        yield size
        assert size == 1 or go.wait(20)
        progress.took(size)
        return FakeModel(key.model)

    told = Told()
    told.beside = {"suspect": 2}
    models = ServedModels(WarmModels(load, 9, memory=100).get)
    flow = Flow(models, payloads(), told, lambda _: Budget(tokens=1024))
    flow.start()
    flow.accept(of_model("small", "first"))
    until(lambda: "first" in told.outcomes)
    for name in ("large", "larger", "largest"):
        flow.accept(of_model(name, name))
    flow.accept(of_model("small", "suspect"))
    until(lambda: "suspect" in told.counted)
    go.set()
    until(lambda: len(told.outcomes) == 5)
    assert flow.stop(10)

    assert told.cleared == ["suspect"]


def test_a_cold_model_that_a_suspect_wants_is_loaded_warily() -> None:
    wary: dict[str, bool] = {}

    def load(key: ModelKey, progress: Progress) -> Course:
        wary[key.model] = progress.wary
        yield 1
        if key.model == "deadly":
            raise ModelLoadFailed("it kills")
        return FakeModel(key.model)

    told = Told()
    told.beside = {"suspect": 2, "innocent": 1}
    models = ServedModels(WarmModels(load, 9).get)
    flow = Flow(models, payloads(), told, lambda _: Budget(tokens=1024))
    flow.start()
    flow.accept(of_model("deadly", "suspect"))
    flow.accept(replace(suspect("innocent"), kwargs={"inputs": "innocent", "model": "old"}))
    flow.accept(of_model("new", "other"))
    until(lambda: len(told.outcomes) == 3)
    assert flow.stop(10)

    assert wary == {"deadly": True, "old": False, "new": False}
    assert isinstance(told.outcomes.pop("suspect"), ModelLoadFailed)
    assert all(isinstance(each, Success) for each in told.outcomes.values())
    assert not told.blamed


def of_model(model: str, words: str) -> Delivery:
    made = suspect(words) if words == "suspect" else delivery(words)
    return replace(made, kwargs={"inputs": words, "model": model})


def test_a_line_that_stops_leaves_a_suspect_that_waits() -> None:
    told = Told()
    told.beside = {"suspect": 2}
    models = FakeModels()
    with running(told, models) as flow:
        hold(flow)
        flow.accept(suspect("suspect"))
        until(lambda: "suspect" in told.counted)
        flow._line.stop()
        models.model.go.set()

    assert not told.blamed
    assert list(told.outcomes) == ["hold"]


def test_a_stage_that_dies_of_a_suspect_lets_the_others_go_on() -> None:
    told = Told()
    words = "exit=preprocess"
    told.beside = {words: 2}

    def back() -> Sequence[str]:
        return [each for given, _, _ in told.back for each in given]

    with running(told) as flow:
        flow.accept(suspect(words))
        until(lambda: words in back())
        flow.accept(delivery("other"))
        until(lambda: "other" in told.outcomes)

    assert told.back == [([words], [words], True)]
    assert not flow.interrupted()
