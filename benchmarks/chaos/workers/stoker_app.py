"""Stoker's worker with the tests' fake model, which marks what it does and counts its runs."""

from collections.abc import Sequence
from typing import Any

from celery import signals

from benchmarks.chaos.workers.marks import FORWARD, READY, STORE, Runs, own_marks
from stoker_config.settings import Settings, load_settings
from stoker_workers.app import make_worker_app
from stoker_workers.broker.step import Engine
from stoker_workers.engine.delivery import Delivery, Outcome, Outlet
from stoker_workers.engine.model import Chunk, Ended, Follow
from tests.doubles.engine import serving
from tests.doubles.model import FakeModel

marks = own_marks()


class MarkedModel(FakeModel):
    """The fake model; each forward pass is marked."""

    def forward(
        self,
        chunks: Sequence[Chunk],
        ended: Ended | None = None,
        follow: Sequence[Follow | None] = (),
    ) -> Sequence[Any]:
        """Answer with the input."""
        marks.put(FORWARD, True)
        try:
            return super().forward(chunks, ended, follow)
        finally:
            marks.put(FORWARD, False)


class MarkedOutlet:
    """The worker's own outlet; each start is counted and each store is marked.

    Args:
        outlet: The worker's own.
    """

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._runs = Runs()
        self.now = outlet.now
        self.deaths = outlet.deaths
        self.blame = outlet.blame
        self.clear = outlet.clear
        self.canceled = outlet.canceled
        self.abandoned = outlet.abandoned
        self.dropped = outlet.dropped
        self.returned = outlet.returned
        self.said = outlet.said

    def started(self, deliveries: Sequence[Delivery]) -> None:
        """Count the runs."""
        self._runs.add(delivery.id for delivery in deliveries)
        self._outlet.started(deliveries)

    def finished(self, outcomes: Sequence[tuple[Delivery, Outcome]]) -> None:
        """Mark the store."""
        marks.put(STORE, True)
        try:
            self._outlet.finished(outcomes)
        finally:
            marks.put(STORE, False)


def make_engine(settings: Settings, outlet: Outlet, client: Any) -> Engine:
    """Build the tests' engine between a marked model and a marked outlet."""
    return serving(MarkedModel())(settings, MarkedOutlet(outlet), client)


settings = load_settings()
app = make_worker_app(settings, make_engine)
signals.worker_ready.connect(lambda **_: marks.put(READY, True), weak=False)
signals.worker_shutting_down.connect(lambda **_: marks.put(READY, False), weak=False)
if settings.transport == "stock":
    # kombu's own transport at its best: what a dead worker held is given back within seconds, so
    # that what is missing at the end is lost and not merely held for an hour.
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "visibility_timeout": settings.lease,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
