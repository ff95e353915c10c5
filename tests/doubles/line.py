"""The line of a worker whose outlet remembers what it was told, and deliveries for it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stoker_workers.engine.batcher import Batcher
from stoker_workers.engine.delivery import Deaths, Delivery, Outcome, Said, Work
from stoker_workers.engine.finishing import Finishing
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.line import Line
from stoker_workers.engine.meter import Meter
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
        self.beside: dict[str, int] = {}
        self.counted: list[str] = []
        self.blamed: list[str] = []
        self.cleared: list[str] = []
        self.back: list[tuple[list[str], list[str], bool]] = []
        self.parts: list[Said] = []
        self.lost: set[str] = set()

    def now(self) -> float:
        return time.time()

    def canceled(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        return [each for each in deliveries if each.id in self.withdrawn]

    def deaths(self, delivery: Delivery) -> Deaths:
        self.counted.append(delivery.id)
        return Deaths(self.died.get(delivery.id), self.beside.get(delivery.id, 0))

    def blame(self, delivery: Delivery) -> bool:
        self.blamed.append(delivery.id)
        return delivery.id not in self.unwanted

    def clear(self, delivery: Delivery) -> None:
        self.cleared.append(delivery.id)

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
        for delivery, outcome in outcomes:
            assert delivery.id not in self.outcomes
            self.outcomes[delivery.id] = outcome

    def dropped(self, deliveries: Sequence[Delivery]) -> None:
        self.gone += [each.id for each in deliveries]


def delivery(
    words: str,
    task: str = "stoker.text_classification",
    *,
    redelivered: bool = False,
    handle: object = None,
) -> Delivery:
    """Give a delivery whose ID is its input."""
    return Delivery(
        id=words,
        celery_task=task,
        args=(),
        kwargs={"inputs": words},
        submitted=time.time(),
        priority=3,
        redelivered=redelivered,
        handle=handle,
    )


@contextmanager
def running(told: Told, models: FakeModels | None = None) -> Iterator[Flow]:
    """Have a line run while the context lasts, and stop in time."""
    flow = Flow(models or FakeModels(), payloads(), told, lambda _: Budget(tokens=1024))
    flow.start()
    yield flow
    assert flow.stop(10)


def hold(flow: Flow, *deliveries: Delivery) -> None:
    """Hold the device until the test sets its model's `go`, and have deliveries wait for it."""
    flow.accept(delivery("hold"))
    until(lambda: flow._line.begun)
    for each in deliveries:
        flow.accept(each)
    until(lambda: len(flow._line.batcher) == len(deliveries))


def share(flow: Flow, model: FakeModel, *deliveries: Delivery) -> None:
    """Have deliveries share a pass: the device is held until all of them wait for it."""
    hold(flow, *deliveries)
    model.go.set()


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
