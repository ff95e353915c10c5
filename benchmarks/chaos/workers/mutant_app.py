"""A build of Stoker's worker that acknowledges before it stores: the harness must catch it."""

from collections.abc import Sequence

from benchmarks.chaos.workers.stoker_app import app
from stoker_workers.broker import outlet
from stoker_workers.broker.ledger import Ledger
from stoker_workers.broker.results import Deliveries
from stoker_workers.engine.delivery import Delivery

__all__ = ["app"]

_in_order = outlet._deliveries


def _acknowledged_first(ledger: Ledger | None, deliveries: Sequence[Delivery]) -> Deliveries:
    """Acknowledge at once, and leave nothing to be acknowledged by the store."""
    if ledger is not None:
        ledger.acknowledge(list(_in_order(ledger, deliveries).tags.values()))
    return Deliveries()


outlet._deliveries = _acknowledged_first
