"""Two models that do not fit together, both with more jobs than they can run: a real line."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from stoker_tasks.result import Success
from stoker_workers.engine import shelf
from stoker_workers.engine.delivery import Delivery, Outcome
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.model import Chunk, ModelKey, Prepared
from stoker_workers.engine.progress import Course, Progress
from stoker_workers.engine.served import ServedModels
from stoker_workers.engine.warm import WarmModels
from stoker_workers.engine.window import Budget
from tests.doubles.line import Told, delivery
from tests.doubles.model import FakeModel
from tests.doubles.store import payloads
from tests.support.until import until

LOAD_SECONDS = 0.1
NAMES = ("a", "b")


class Pressing(Told):
    """An outlet after whose outcomes there are always more jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.done: Counter[str] = Counter()
        self.flow: Flow | None = None
        self.over = False

    def finished(self, outcomes: Sequence[tuple[Delivery, Outcome]]) -> None:
        for each, _ in outcomes:
            name = str(each.kwargs["model"])
            self.done[name] += 1
            if not self.over and self.flow is not None:
                self.flow.accept(job(name))


def job(name: str, words: str = "sleep=0.01", **options: Any) -> Delivery:
    made = delivery(words)
    return replace(made, kwargs={"inputs": words, "model": name, **options})


def two_that_do_not_fit(loads: list[str], seconds: float = 0.0) -> WarmModels:
    def load(key: ModelKey, progress: Progress) -> Course:
        yield 60
        loads.append(key.model)
        time.sleep(seconds)
        progress.took(60)
        return FakeModel(key.model)

    return WarmModels(load, 9, memory=100)


def test_each_serves_longer_than_its_loading_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shelf, "TURN", 0.0)
    loads: list[str] = []

    warm = two_that_do_not_fit(loads, LOAD_SECONDS)
    told = Pressing()
    served = ServedModels(warm.get)
    flow = told.flow = Flow(served, payloads(), told, lambda _: Budget(tokens=64, rows=2))
    warm.charge(flow.owe)
    flow.start()
    began = time.monotonic()
    for name in NAMES * 6:
        flow.accept(job(name))

    until(lambda: len(loads) >= 7 and min(told.done.values()) > 20, 60)

    seconds, swaps = time.monotonic() - began, len(loads)
    told.over = True
    flow.stop(10)
    # Each one served at least four times as long as its loading had taken, before the next came.
    assert (swaps - 1) * 4 * LOAD_SECONDS <= seconds
    assert loads == [NAMES[at % 2] for at in range(swaps)]


def test_a_model_whose_jobs_are_done_goes_though_something_was_fetched_for_them() -> None:
    loads: list[str] = []
    warm, told = two_that_do_not_fit(loads), Told()
    flow = Flow(ServedModels(warm.get), payloads(), told, lambda _: Budget(tokens=64))
    flow.start()

    # Whether there is an answer to an equal question is looked up beside the line.
    for at, name in enumerate("ababab"):
        flow.accept(job(name, f"{at}", cache=True))
        until(lambda: len(told.outcomes) > at, 30)  # noqa: B023 - it is asked in this turn only

    assert flow.stop(10)
    assert loads == list("ababab")


def test_a_job_does_not_wait_for_itself_where_its_model_is_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shelf, "TURN", 0.0)
    loads: list[str] = []
    there = threading.Event()

    def fetch(urls: Sequence[str]) -> Mapping[str, bytes]:
        assert there.wait(30)
        return dict.fromkeys(urls, b"f")

    class Reader(FakeModel):
        def preprocess(self, job: Any, media: Mapping[str, bytes]) -> Prepared:
            return Prepared([Chunk({"text": "a file"}, 1)])

    def load(key: ModelKey, progress: Progress) -> Course:
        yield 60
        loads.append(key.model)
        progress.took(60)
        return Reader(key.model)

    warm, told = WarmModels(load, 9, memory=100), Told()
    flow = Flow(ServedModels(warm.get), payloads(fetch=fetch), told, lambda _: Budget(tokens=64))
    flow.start()
    of_images = delivery("first", "stoker.image_classification")
    flow.accept(replace(of_images, kwargs={"inputs": [{"url": "https://h/1"}], "model": "a"}))
    until(lambda: loads == ["a"])
    flow.accept(job("b", "second"))
    until(lambda: any(state.state == "leaving" for state in warm.states()))
    there.set()
    until(lambda: len(told.outcomes) == 2, 30)

    assert flow.stop(10)
    assert loads == ["a", "b"]
    assert all(isinstance(each, Success) for each in told.outcomes.values())


def test_slow_jobs_that_wait_for_their_turn_hold_up_no_other_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shelf, "TURN", 0.0)
    loads: list[str] = []
    there = threading.Event()

    class Reader(FakeModel):
        def is_slow(self, job: Any) -> bool:
            return "page" in job.inputs

        def preprocess(self, job: Any, media: Mapping[str, bytes]) -> Prepared:
            assert not self.is_slow(job) or there.wait(30)
            return super().preprocess(job, media)

    def load(key: ModelKey, progress: Progress) -> Course:
        yield 60
        loads.append(key.model)
        progress.took(60)
        return Reader(key.model)

    warm, told = WarmModels(load, 9, memory=100), Told()
    flow = Flow(ServedModels(warm.get), payloads(), told, lambda _: Budget(tokens=64))
    flow.start()
    for at in range(8):
        flow.accept(job("a", f"page {at}"))
    until(lambda: loads == ["a"])
    flow.accept(job("b", "quick"))
    until(lambda: any(state.state == "leaving" for state in warm.states()))
    there.set()
    until(lambda: len(told.outcomes) == 9, 30)

    assert flow.stop(10)
    assert loads == ["a", "b", "a"]
    assert all(isinstance(each, Success) for each in told.outcomes.values())
