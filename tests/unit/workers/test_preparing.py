"""The first stage: what waits for a model or for a file holds nobody up, and suspects are found."""

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial

from stoker_tasks.errors import InputFetchFailed, ModelLoadFailed, Poison
from stoker_tasks.job import Job
from stoker_tasks.result import Success
from stoker_workers.engine.delivery import Delivery
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.model import Chunk, ModelKey, Prepared, WarmModel
from stoker_workers.engine.window import Budget
from tests.doubles.line import Told, delivery, running, share
from tests.doubles.model import FakeModel, FakeModels
from tests.doubles.store import payloads
from tests.support.until import until


def naming(url: str) -> Delivery:
    """Deliver a job whose input has a URL."""
    of_images = delivery(url, "stoker.image_classification")
    return dataclasses.replace(of_images, kwargs={"inputs": [{"url": url}]})


def test_jobs_wait_for_their_model_and_others_pass_them() -> None:
    class Slow(FakeModels):
        def __init__(self) -> None:
            super().__init__()
            self.loading: Future[WarmModel] = Future()

        def key_of(self, job: Job) -> ModelKey:
            return ModelKey(job.task, job.model or "fake", job.revision)

        def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
            return self.loading if key.task == "fill-mask" else super().get(key)

    told, models = Told(), Slow()
    with running(told, models) as flow:
        flow.accept(delivery("first", "stoker.fill_mask"))
        flow.accept(delivery("second"))
        until(lambda: "second" in told.outcomes)
        assert "first" not in told.outcomes
        models.loading.set_result(FakeModel())
        until(lambda: "first" in told.outcomes)

    assert isinstance(told.outcomes["first"], Success)


def test_a_model_that_cannot_be_loaded_fails_its_jobs_only() -> None:
    class Broken(FakeModels):
        def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
            if key.task != "fill-mask":
                return super().get(key)
            failed: Future[WarmModel] = Future()
            failed.set_exception(ModelLoadFailed("no weights"))
            return failed

    told = Told()
    with running(told, Broken()) as flow:
        flow.accept(delivery("a", "stoker.fill_mask"))
        flow.accept(delivery("b"))
        until(lambda: len(told.outcomes) == 2)

    assert isinstance(told.outcomes["a"], ModelLoadFailed)
    assert isinstance(told.outcomes["b"], Success)


def test_a_job_that_waits_for_its_file_lets_others_pass() -> None:
    told, models, there = Told(), FakeModels(), threading.Event()
    read: list[Mapping[str, bytes]] = []

    class Reader(FakeModel):
        def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
            if media:
                read.append(dict(media))
                return Prepared([Chunk({"text": "a file"}, 1)])
            return super().preprocess(job, media)

    def fetch(urls: Sequence[str]) -> Mapping[str, bytes]:
        if "missing" in urls[0]:
            raise InputFetchFailed("it is not there")
        assert there.wait(20)
        return dict.fromkeys(urls, b"f")

    models.model = Reader()
    flow = Flow(models, payloads(fetch=fetch), told, lambda _: Budget(tokens=1024))
    flow.start()
    flow.accept(naming("https://h/file"))
    flow.accept(naming("https://h/missing"))
    flow.accept(delivery("quick"))
    until(lambda: {"quick", "https://h/missing"} <= told.outcomes.keys())
    assert not read
    there.set()
    until(lambda: "https://h/file" in told.outcomes)

    assert flow.stop(10)
    assert read == [{"https://h/file": b"f"}]
    assert isinstance(told.outcomes["quick"], Success)
    assert isinstance(told.outcomes["https://h/missing"], InputFetchFailed)
    found = told.outcomes["https://h/file"]
    assert isinstance(found, Success)
    assert found.timing.fetch_ms > 0


def test_a_model_that_goes_while_files_are_fetched_still_serves_who_holds_it() -> None:
    class Vanishing(FakeModels):
        def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
            if fetched:
                failed: Future[WarmModel] = Future()
                failed.set_exception(ModelLoadFailed("it was there a moment ago"))
                return failed
            return super().get(key)

    class Reader(FakeModel):
        def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
            return Prepared([Chunk({"text": "a file"}, 1)])

    fetched: list[str] = []

    def fetch(urls: Sequence[str]) -> Mapping[str, bytes]:
        fetched.extend(urls)
        return dict.fromkeys(urls, b"f")

    told = Told()
    flow = Flow(Vanishing(Reader()), payloads(fetch=fetch), told, lambda _: Budget(tokens=1024))
    flow.start()
    # One after the other: only the first time is the model there.
    for at in range(20):
        fetched.clear()
        each = naming(f"https://h/{at}")
        flow.accept(each)
        until(partial(told.outcomes.__contains__, each.id))

    assert flow.stop(10)
    assert all(isinstance(each, Success) for each in told.outcomes.values())


def test_a_suspect_runs_alone_and_after_three_deaths_not_at_all() -> None:
    told, models = Told(), FakeModels()
    told.died = {"suspect": 2, "poison": 3}
    with running(told, models) as flow:
        flow.accept(delivery("poison", redelivered=True))
        redelivered = (delivery(each, redelivered=True) for each in ("suspect", "innocent"))
        share(flow, models.model, delivery("one"), *redelivered)
        until(lambda: len(told.outcomes) == 5)

    assert isinstance(told.outcomes["poison"], Poison)
    assert "poison" not in told.begun
    assert isinstance(told.outcomes["suspect"], Success)
    assert sorted(map(len, models.model.batches)) == [1, 1, 2]
