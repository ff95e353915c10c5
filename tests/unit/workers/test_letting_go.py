"""A job that has ended is let go of at once: nothing waits for Python to look for cycles."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from stoker_tasks.errors import Internal, StokerError
from stoker_workers.broker.tasks import outcome
from tests.doubles.line import Told, delivery, running
from tests.support.until import until


class Held:
    """What a job has at hand."""


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("words", ["fine", "bad", "fail", "draw=9"])
def test_however_it_ended(words: str) -> None:
    told = Told()
    held = Held()
    seen = weakref.ref(held)
    with running(told) as flow:
        flow.accept(delivery(words, handle=held))
        del held
        until(lambda: words in told.outcomes)
        # The stages hold what they had last in hand until the next comes.
        flow.accept(delivery("next"))
        until(lambda: "next" in told.outcomes)

    assert seen() is None


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
