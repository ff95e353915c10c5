"""A job that has ended is let go of at once: nothing waits for Python to look for cycles."""

import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from stoker_tasks.errors import Internal, StokerError, TooLarge
from stoker_tasks.job import Job
from stoker_workers.broker.tasks import outcome
from stoker_workers.engine.model import Output, Prepared
from tests.doubles.line import Told, delivery, running, stages
from tests.doubles.model import FakeModel, FakeModels
from tests.doubles.store import MemoryStore
from tests.support.until import until


class Held:
    """What a job has at hand."""


class Broken(FakeModel):
    """Fails beside the line, or when it makes results, as libraries do."""

    def is_slow(self, job: Job) -> bool:
        return "slow" in job.inputs

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        if job.inputs == "slow broken":
            raise ValueError("all input arrays must have the same shape")
        return super().preprocess(job, media)

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        if job.inputs == "refused":
            try:
                raise ValueError("too many")
            except ValueError as error:
                raise TooLarge("no result takes that") from error
        return super().postprocess(job, prepared, outputs)


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "words", ["fine", "bad", "fail", "draw=9", "slow", "slow bad", "slow broken", "refused"]
)
def test_however_it_ended(words: str) -> None:
    told = Told()
    held = Held()
    seen = weakref.ref(held)
    with running(told, FakeModels(Broken())) as flow:
        flow.accept(delivery(words, handle=held))
        del held
        until(lambda: words in told.outcomes)
        # The stages hold what they had last in hand until the next comes.
        flow.accept(delivery("next"))
        until(lambda: "next" in told.outcomes)

    assert seen() is None


def test_one_whose_output_the_store_failed_to_take() -> None:
    class Away(MemoryStore):
        def put(self, data: bytes, **_: Any) -> str:
            raise ConnectionError("no route to the store")

    told, held = Told(), Held()
    seen = weakref.ref(held)
    given = delivery("draw=9", handle=held)
    preparing, running, finishing = stages(told, FakeModels(), given, store=Away())
    assert preparing.next()
    assert running.next()
    assert finishing.next()
    del held, given

    assert isinstance(told.outcomes["draw=9"], Internal)
    until(lambda: seen() is None)


def test_one_whose_failure_was_raised_for_celery() -> None:
    def traced(failure: StokerError, batch: list[object]) -> None:
        """Have a batch in a local, as the frames have in which Celery's tracer is called."""
        with outcome(failure):
            try:
                raise failure
            except StokerError:
                batch.append(failure)

    held = Held()
    seen = weakref.ref(held)
    traced(Internal("of a batch"), [held])
    del held

    assert seen() is None
