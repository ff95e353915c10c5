"""What kombu asks about acknowledgements, answered by the process's ledger."""

import logging
from typing import Any, Final

from kombu.asynchronous import get_event_loop
from kombu.transport import redis as stock
from kombu.transport import virtual

from stoker_workers.broker.leases import give_back_lapsed

logger = logging.getLogger(__name__)

# Seconds in which the event loop does other things while very much goes back.
_REST: Final = 0.05


class QoS(stock.QoS):
    """kombu's quality of service for a claiming channel."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._scheduled = False
        delivered = self._delivered
        # kombu marks what is acknowledged for later, since other threads of its own may do that.
        self._quick_ack = lambda tag: delivered.pop(tag, None)

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a delivery; a claim has registered it already."""
        if self.channel.ledger.holds(delivery_tag):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)  # a synchronous get, kombu's way

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a delivery, together with others of the same turn of the event loop."""
        virtual.QoS.ack(self, delivery_tag)
        ledger = self.channel.ledger
        if ledger.holds(delivery_tag):
            ledger.acknowledge_soon(delivery_tag)
            self._schedule()
        elif not delivery_tag.startswith(self.channel.tag_prefix):
            self._remove_from_indices(delivery_tag).execute()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give a delivery back, or end it."""
        if requeue and self.channel.ledger.holds(delivery_tag):
            self.channel.ledger.give_back_soon([delivery_tag])
            virtual.QoS.ack(self, delivery_tag)
        elif requeue:
            super().reject(delivery_tag, requeue=True)
        else:
            self.ack(delivery_tag)

    def drop(self, delivery_tag: str) -> None:
        """Acknowledge a delivery that makes no message, which nobody was told of."""
        self.channel.ledger.acknowledge_soon(delivery_tag)
        self._schedule()

    def flush(self) -> None:
        """Send the acknowledgements that wait."""
        self._scheduled = False
        self.channel.ledger.flush()

    def can_consume_max_estimate(self) -> int | None:
        """Say how many more messages fit; what outlived a reconnect counts as well."""
        credit: int | None = super().can_consume_max_estimate()
        if credit is None:
            return None
        survivors: int = self.channel.ledger.count() - len(self._delivered)
        return max(0, credit - max(0, survivors))

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give back what a closing channel leaves behind; the engine keeps what it works on."""
        self._on_collect.cancel()
        self.flush()
        if getattr(self._delivered, "restored", None):
            return
        self.channel.ledger.connection_lost(list(self._delivered))
        for tag in list(self._delivered):
            if not tag.startswith(self.channel.tag_prefix):
                self.restore_by_tag(tag)
        self._delivered.clear()
        self._delivered.restored = True

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Give back deliveries whose holder is silent, as any worker does.

        If it is very much, the event loop has a turn now and then.
        """
        channel = self.channel
        done, more = give_back_lapsed(
            channel.ledger, channel.lease, channel.visibility_timeout, channel.queues_of
        )
        hub = get_event_loop()
        if more and hub is not None:
            hub.call_later(_REST, channel.connection.cycle.maybe_restore_messages)
        if done:
            logger.warning("%d jobs of a silent worker went back to the queue", done)

    def _schedule(self) -> None:
        hub = get_event_loop()
        if hub is None or self.channel.closed:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            hub.call_soon(self.flush)
