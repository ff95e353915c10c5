"""Beside the line, slow jobs are preprocessed: a few at a time, and all others pass them."""

import threading
from collections.abc import Mapping, Sequence

import pytest

from stoker_tasks.errors import Internal, InvalidInput, QueueTimeout
from stoker_tasks.job import Job
from stoker_tasks.result import Success
from stoker_workers.engine.delivery import Delivery
from stoker_workers.engine.model import Prepared
from tests.doubles.line import Told, delivery, running
from tests.doubles.model import FakeModel, FakeModels
from tests.support.until import until
from tests.unit.workers.test_clocks import timed


class Reader(FakeModel):
    """Takes long for pages: as long as it is not let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.pages: list[str] = []

    def is_slow(self, job: Job) -> bool:
        return "page" in job.inputs

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        if self.is_slow(job):
            self.pages.append(job.inputs)
            assert self.go.wait(20)
        return super().preprocess(job, media)


def test_a_quick_job_passes_slow_ones_of_which_a_few_are_read_at_once() -> None:
    told, reader = Told(), Reader()
    with running(told, FakeModels(reader)) as flow:
        for name in ("page 1", "page 2 bad", "page 3", "page 4"):
            flow.accept(delivery(name))
        until(lambda: len(reader.pages) == 2)
        for at in range(10):
            flow.accept(delivery(f"quick {at}"))
        until(lambda: len(told.outcomes) == 10)
        assert sorted(reader.pages) == ["page 1", "page 2 bad"]
        reader.go.set()
        until(lambda: len(told.outcomes) == 14)

    assert isinstance(told.outcomes.pop("page 2 bad"), InvalidInput)
    assert all(isinstance(each, Success) for each in told.outcomes.values())
    timing = told.outcomes["page 1"].timing  # type: ignore[union-attr]
    assert timing.preprocess_ms > 0
    assert timing.fetch_ms >= 0


def test_a_slow_job_that_nobody_waits_for_any_more_is_not_read() -> None:
    told, reader = Told(), Reader()
    with running(told, FakeModels(reader)) as flow:
        for name in ("page 1", "page 2"):
            flow.accept(delivery(name))
        until(lambda: len(reader.pages) == 2)
        late = timed("page late", age=10, queue_timeout=10.2)
        for each in (late, delivery("page canceled"), delivery("page 3")):
            flow.accept(each)
        told.withdrawn.add("page canceled")
        until(lambda: told.now() > late.submitted + 10.2)
        reader.go.set()
        until(lambda: len(told.outcomes) == 4)

    assert sorted(reader.pages) == ["page 1", "page 2", "page 3"]
    assert isinstance(told.outcomes["page late"], QueueTimeout)
    assert told.gone == ["page canceled"]


@pytest.mark.parametrize("deaf", [False, True])
def test_one_that_was_canceled_is_told_of_though_that_failed_at_first(deaf: bool) -> None:
    class Deaf(Told):
        def dropped(self, deliveries: Sequence[Delivery]) -> None:
            if deaf:
                raise ConnectionError("the server refuses to write")
            super().dropped(deliveries)

    told = Deaf()
    told.withdrawn.add("page")
    with running(told, FakeModels(Reader())) as flow:
        flow.accept(delivery("page"))
        until(lambda: [*told.gone, *told.outcomes] == ["page"])

    assert isinstance(told.outcomes.get("page"), Internal) is deaf


def test_slow_jobs_are_read_while_nobody_can_say_who_is_canceled() -> None:
    class Away(Told):
        def canceled(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
            raise ConnectionError("the store is away")

    told, reader = Away(), Reader()
    reader.go.set()
    with running(told, FakeModels(reader)) as flow:
        flow.accept(delivery("page"))
        until(lambda: bool(told.outcomes))

    assert isinstance(told.outcomes["page"], Success)


def test_stopping_waits_for_a_page_that_is_read_and_begins_no_other() -> None:
    told, reader, order = Told(), Reader(), list[str]()

    def stop() -> None:
        assert flow.stop(20, settle=0.1)
        order.append("stopped")

    with running(told, FakeModels(reader)) as flow:
        for name in ("page 1", "page 2", "page 3"):
            flow.accept(delivery(name))
        until(lambda: len(reader.pages) == 2)
        stopping = threading.Thread(target=stop)
        stopping.start()
        stopping.join(0.5)
        order.append("read")
        reader.go.set()
        stopping.join(20)

    assert order == ["read", "stopped"]
    assert sorted(reader.pages) == ["page 1", "page 2"]
    assert told.outcomes == {}


def test_stopping_tells_of_a_page_that_did_not_come_to_its_end() -> None:
    reader = Reader()
    with running(Told(), FakeModels(reader)) as flow:
        flow.accept(delivery("page"))
        until(lambda: bool(reader.pages))
        assert not flow.stop(0.1)
        reader.go.set()


@pytest.mark.parametrize("slow", [False, True])
def test_what_ends_the_thread_that_reads_it_costs_a_job_a_new_delivery(slow: bool) -> None:
    told, reader = Told(), Reader()
    reader.go.set()
    guilty = "page exit=preprocess" if slow else "exit=preprocess"
    with running(told, FakeModels(reader)) as flow:
        flow.accept(delivery(guilty))
        until(lambda: bool(told.back))
        for name in ("page 1", "page 2", "page 3", "quick"):
            flow.accept(delivery(name))
        until(lambda: len(told.outcomes) == 4)

    assert told.back == [([guilty], [guilty], True)]
