"""Two models that do not fit together, both with more jobs than they can run: a real line."""

import time
from collections import Counter
from collections.abc import Sequence

import pytest

from stoker_workers.engine import shelf
from stoker_workers.engine.delivery import Delivery, Outcome
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.progress import Progress
from stoker_workers.engine.served import ServedModels
from stoker_workers.engine.warm import WarmModels
from stoker_workers.engine.window import Budget
from tests.doubles.model import FakeModel
from tests.doubles.store import payloads
from tests.support.until import until
from tests.unit.workers.test_flow import Told, delivery

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


def job(name: str) -> Delivery:
    made = delivery("sleep=0.01")
    return Delivery(
        id=made.id,
        celery_task=made.celery_task,
        args=(),
        kwargs={"inputs": "sleep=0.01", "model": name},
        submitted=made.submitted,
        priority=3,
        redelivered=False,
        handle=None,
    )


def test_swaps_are_paid_for_and_neither_starves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "TURN", 0.0)
    loads: list[str] = []

    def load(key: ModelKey, progress: Progress) -> WarmModel:
        progress.make_room(60)
        loads.append(key.model)
        time.sleep(LOAD_SECONDS)
        progress.took(60)
        return FakeModel(key.model)

    warm = WarmModels(load, 9, memory=100)
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
    assert max(told.done.values()) < 4 * min(told.done.values())
