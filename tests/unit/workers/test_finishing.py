"""The third stage: a store that is away or slow costs only those who need it."""

import threading
from collections.abc import Sequence
from typing import Any

from stoker_tasks.result import Success
from stoker_workers.engine.delivery import Delivery, Outcome
from tests.doubles.line import Told, delivery, running, stages
from tests.doubles.model import FakeModels
from tests.doubles.store import MemoryStore
from tests.support.until import until


def test_the_stages_outlive_a_store_that_is_away() -> None:
    class Away(Told):
        refused = 0

        def finished(self, outcomes: Sequence[tuple[Delivery, Outcome]]) -> None:
            if not self.refused:
                self.refused += 1
                raise ConnectionError("the store is away")
            super().finished(outcomes)

    told = Away()
    with running(told) as flow:
        flow.accept(delivery("lost for now"))
        until(lambda: told.refused)
        flow.accept(delivery("next"))
        until(lambda: "next" in told.outcomes)

    assert "lost for now" not in told.outcomes
    assert not flow.ailing()


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
