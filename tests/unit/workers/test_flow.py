"""The line: what goes in comes out once, in whatever way, and the stages outlive any job."""

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from stoker_tasks.errors import (
    Expired,
    InputFetchFailed,
    Internal,
    InvalidInput,
    ModelLoadFailed,
    Poison,
    QueueTimeout,
    RunTimeout,
    UnknownTask,
)
from stoker_tasks.job import Job
from stoker_tasks.result import Success
from stoker_workers.engine.batcher import Batcher
from stoker_workers.engine.delivery import Delivery, Outcome, Said, Work
from stoker_workers.engine.finishing import Finishing
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.line import Line
from stoker_workers.engine.meter import Meter
from stoker_workers.engine.model import Chunk, ModelKey, Prepared, WarmModel
from stoker_workers.engine.preparing import Preparing
from stoker_workers.engine.running import Running
from stoker_workers.engine.window import Budget
from tests.doubles.model import FakeModel, FakeModels
from tests.doubles.store import MemoryStore, payloads
from tests.support.until import until


class Told:
    """An outlet that remembers what it was told."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.begun: list[str] = []
        self.gone: list[str] = []
        self.unwanted: set[str] = set()
        self.withdrawn: set[str] = set()
        self.died: dict[str, int] = {}
        self.back: list[tuple[list[str], list[str], bool]] = []
        self.broken = False
        self.parts: list[Said] = []
        self.lost: set[str] = set()

    def now(self) -> float:
        return time.time()

    def canceled(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        return [each for each in deliveries if each.id in self.withdrawn]

    def deaths(self, delivery: Delivery) -> int | None:
        return self.died.get(delivery.id)

    def returned(
        self, deliveries: Sequence[Delivery], suspects: Sequence[Delivery], *, guilty: bool
    ) -> None:
        self.back += [([each.id for each in deliveries], [each.id for each in suspects], guilty)]

    def abandoned(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        return [each for each in deliveries if each.id in self.unwanted]

    def started(self, deliveries: Sequence[Delivery]) -> None:
        self.begun += [each.id for each in deliveries]

    def said(self, said: Sequence[Said]) -> Sequence[Delivery]:
        self.parts += said
        return [each.delivery for each in said if each.delivery.id in self.lost]

    def finished(self, outcomes: Sequence[tuple[Delivery, Outcome]]) -> None:
        if self.broken:
            raise ConnectionError("the store is away")
        for delivery, outcome in outcomes:
            assert delivery.id not in self.outcomes
            self.outcomes[delivery.id] = outcome

    def dropped(self, deliveries: Sequence[Delivery]) -> None:
        self.gone += [each.id for each in deliveries]


def delivery(
    words: str, task: str = "stoker.text_classification", *, redelivered: bool = False
) -> Delivery:
    return Delivery(
        id=words,
        celery_task=task,
        args=(),
        kwargs={"inputs": words},
        submitted=time.time(),
        priority=3,
        redelivered=redelivered,
        handle=None,
    )


@contextmanager
def running(told: Told, models: FakeModels | None = None) -> Iterator[Flow]:
    flow = Flow(models or FakeModels(), payloads(), told, lambda _: Budget(tokens=1024))
    flow.start()
    yield flow
    assert flow.stop(10)


def stages(
    told: Told, models: FakeModels, *deliveries: Delivery, store: MemoryStore | None = None
) -> tuple[Preparing, Running, Finishing]:
    """Give the stages of a line that deliveries have come to, for a test to take each step."""
    line = Line(Batcher(lambda _: Budget(tokens=1024)))
    for each in deliveries:
        line.inbox.put(Work(each))
    data = payloads(store)
    return (
        Preparing(line, models, data, told),
        Running(line, told, Meter(), lambda _model, _tokens: None),
        Finishing(line, data, told),
    )


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


def test_what_nobody_waits_for_is_not_run() -> None:
    told, models = Told(), FakeModels()
    told.unwanted = {"two", "three"}
    with running(told, models) as flow:
        flow.accept(delivery("sleep=0.1"))
        until(lambda: bool(told.begun))
        for words in ("one", "two", "three"):
            flow.accept(delivery(words))
        until(lambda: "one" in told.outcomes)

    assert told.gone == ["two", "three"]
    assert set(told.outcomes) == {"sleep=0.1", "one"}
    assert models.model.batches == [[1], [1]]


def test_a_suspect_runs_alone_and_after_three_deaths_not_at_all() -> None:
    told, models = Told(), FakeModels()
    told.died = {"suspect": 2, "poison": 3}
    with running(told, models) as flow:
        flow.accept(delivery("sleep=0.2"))
        until(lambda: bool(told.begun))
        flow.accept(delivery("one"))
        flow.accept(delivery("suspect", redelivered=True))
        flow.accept(delivery("poison", redelivered=True))
        flow.accept(delivery("innocent", redelivered=True))
        until(lambda: len(told.outcomes) == 5)

    assert isinstance(told.outcomes["poison"], Poison)
    assert "poison" not in told.begun
    assert isinstance(told.outcomes["suspect"], Success)
    assert sorted(map(len, models.model.batches)) == [1, 1, 2]


def test_stopping_finishes_the_running_batch_and_starts_nothing() -> None:
    told = Told()
    with running(told) as flow:
        flow.accept(delivery("sleep=0.3"))
        until(lambda: told.begun == ["sleep=0.3"])
        for at in range(20):
            flow.accept(delivery(f"late {at}"))

    assert list(told.outcomes) == ["sleep=0.3"]
    assert told.begun == ["sleep=0.3"]


def test_jobs_wait_for_their_model_and_others_pass_them() -> None:
    class Slow(FakeModels):
        def __init__(self) -> None:
            super().__init__()
            self.loading: Future[WarmModel] = Future()

        def key_of(self, job: Job) -> ModelKey:
            return ModelKey(job.task, job.model or "fake", job.revision)

        def get(self, key: ModelKey) -> "Future[WarmModel]":
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
        def get(self, key: ModelKey) -> "Future[WarmModel]":
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


def test_the_stages_outlive_a_store_that_is_away() -> None:
    told = Told()
    told.broken = True
    with running(told) as flow:
        flow.accept(delivery("lost for now"))
        until(lambda: told.begun == ["lost for now"])
        time.sleep(0.05)
        told.broken = False
        flow.accept(delivery("next"))
        until(lambda: "next" in told.outcomes)

    assert "lost for now" not in told.outcomes


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


def test_an_idle_engine_is_not_hung_after_a_pass_that_raised() -> None:
    class Broken(FakeModel):
        def forward(self, chunks, ended=None, follow=()):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt  # what no handler of a pass expects

    preparing, running, _ = stages(Told(), FakeModels(Broken()), delivery("x"))
    assert preparing.next()
    with pytest.raises(KeyboardInterrupt):
        running.next()

    assert running.busy_since is None


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


def naming(url: str) -> Delivery:
    """Deliver a job whose input has a URL."""
    of_images = delivery(url, "stoker.image_classification")
    return dataclasses.replace(of_images, kwargs={"inputs": [{"url": url}]})


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
        def get(self, key: ModelKey) -> "Future[WarmModel]":
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


def test_a_refused_delivery_ends_with_its_error() -> None:
    told = Told()
    with running(told) as flow:
        flow.refuse(delivery("x"), InvalidInput("too bad"))
        until(lambda: "x" in told.outcomes)

    assert isinstance(told.outcomes["x"], InvalidInput)


# -- the three clocks, and canceling while it runs -------------------------------------------------


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


def test_canceling_a_running_row_ends_it_and_spares_its_neighbours() -> None:
    told, models = Told(), FakeModels()
    with running(told, models) as flow:
        flow.accept(delivery("sleep=0.2"))
        until(lambda: bool(told.begun))
        flow.accept(delivery("steps=60"))
        flow.accept(delivery("steps=1.2"))
        until(lambda: len(told.begun) == 3)
        told.withdrawn = {"steps=60"}
        until(lambda: len(told.outcomes) == 2)

    assert told.gone == ["steps=60"]
    assert isinstance(told.outcomes["steps=1.2"], Success)
    assert models.model.steps.count("steps=60") < models.model.steps.count("steps=1.2")


def test_a_pass_goes_on_while_nobody_can_say_who_is_canceled() -> None:
    class Away(Told):
        def canceled(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
            self.withdrawn.add("asked")
            raise ConnectionError("the server is away")

    told = Away()
    with running(told) as flow:
        flow.accept(delivery("steps=0.7"))
        until(lambda: len(told.outcomes) == 1)

    assert told.withdrawn == {"asked"}
    assert isinstance(told.outcomes["steps=0.7"], Success)


def test_a_result_that_needs_no_store_does_not_wait_for_one_that_does() -> None:
    there = threading.Event()

    class Slow(MemoryStore):
        def put(self, data: bytes, **options: Any) -> str:
            assert there.wait(20)
            return super().put(data, **options)

    told, jobs = Told(), (delivery("draw=9"), delivery("quick"))
    preparing, running, finishing = stages(told, FakeModels(), *jobs, store=Slow())
    assert preparing.next()
    assert preparing.next()
    # Both in one batch, and so in one bunch.
    assert running.next()
    last = threading.Thread(target=finishing.next)
    last.start()
    until(lambda: "quick" in told.outcomes)
    assert "draw=9" not in told.outcomes
    there.set()
    last.join(20)

    outcome = told.outcomes["draw=9"]
    assert isinstance(outcome, Success)
    assert outcome.artifacts


def test_the_meter_counts_batches_and_time_idle_with_work_at_hand() -> None:
    told = Told()
    with running(told) as flow:
        for words in ("sleep=0.3 first", "one", "two", "three"):
            flow.accept(delivery(words))
        until(lambda: len(told.outcomes) == 4)
        counts = flow.meter.read()

    assert counts["rows"] == 4
    assert counts["released_drained"] == counts["batches"]
    assert counts["busy_s"] >= 0.3
    # While a pass runs, what waits for its end does not wait for an idle device.
    assert counts["idle_with_work_s"] < counts["busy_s"]
    timings = [each.timing for each in told.outcomes.values() if isinstance(each, Success)]
    assert {each.release_reason for each in timings} == {"drained"}


def test_what_does_not_fit_into_memory_is_told_with_its_size() -> None:
    told, sizes = Told(), []
    flow = Flow(
        FakeModels(),
        payloads(),
        told,
        lambda _: Budget(tokens=1024),
        lambda key, tokens: sizes.append((key.task, tokens)),
    )
    for words in ("oom=2 a", "oom=2 b", "oom=2 c", "oom=2 d"):
        flow.accept(delivery(words))
    flow.start()
    until(lambda: len(told.outcomes) == 4)
    assert flow.stop(10)

    assert all(isinstance(outcome, Success) for outcome in told.outcomes.values())
    assert all(task == "text-classification" and tokens >= 6 for task, tokens in sizes)
