"""Stoker's Redis transport for kombu: many messages a claim, none lost between two steps.

It reads and writes kombu's own lists, envelopes and `unacked` keys, so stock producers and stock
workers share the broker. It differs in how a worker takes and returns messages:

- a claim is one script that takes up to `claim_limit` messages and registers them. It leaves each
  list a tenth (or an equal part, if there are more than ten). Where that is not a message, every
  tenth claim begins with the list that has had nothing for longest. So each list that waits is
  served within 10 claims for each of the worker's lists, which are four a queue;
- an idle worker waits by blocking peeks, which move nothing;
- the process's `Ledger` renews leases, acknowledges by the batch, and survives reconnects;
- a delivery's tag is minted by its claim, so a late worker meets nobody else's delivery.
"""

import json
import logging
import os
from binascii import a2b_base64
from queue import Empty
from time import monotonic
from typing import Any, Final
from uuid import uuid4

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as stock

from stoker_config.servers import ANSWER_SECONDS
from stoker_workers.broker.envelope import NO_ENVELOPE, Message, read_envelope
from stoker_workers.broker.leases import give_back_doubted
from stoker_workers.broker.ledger import Ledger
from stoker_workers.broker.peeks import PEEK, Peeks, Poller
from stoker_workers.broker.qos import QoS
from stoker_workers.broker.scripts import CLAIM
from stoker_workers.engine.turns import EVERY, Turns

logger = logging.getLogger(__name__)

# The name under which broker URLs choose this transport.
ALIAS: Final = "stoker"

# A delivery's tag, the list and the queue that its message came from, and its text.
Claimed = tuple[str, str, str, Any]

_ledgers: dict[tuple[Any, ...], Ledger] = {}


def ledgers() -> list[Ledger]:
    """List the ledgers of this process: one for each server it consumes from."""
    return list(_ledgers.values())


class Channel(stock.Channel):
    """A channel that claims by the batch."""

    QoS = QoS
    Message = Message
    claim_limit = 256
    # Seconds; `visibility_timeout` is kombu's, for what stock workers hold.
    lease = 60.0
    # What all tags of this worker begin with, so that its supervisor can give them back.
    worker_id = "unsupervised"
    # How many clients have heard what was last sent to all; None if nothing was.
    listeners: int | None = None
    from_transport_options = (
        *stock.Channel.from_transport_options,
        "claim_limit",
        "lease",
        "worker_id",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.peeks = Peeks(self)
        self._claims = 0
        # How many claims have begun with the highest priority.
        self._ordinary = 0
        self._turns: Turns[str] = Turns()
        self._in_poll: Any = False
        self._no_ack: set[str] = set()
        self._claiming: list[tuple[str, str]] = []
        self._asked = 0
        self._claim_sha = ""
        super().__init__(*args, **kwargs)
        self.tag_prefix = f"{self.worker_id}-{uuid4().hex[:12]}."
        # The ledger of this process for this channel's server. Found now: kombu takes a closed
        # channel's connection away, and what the channel delivered is stored, fenced and
        # acknowledged after that as well.
        self.ledger = self._find_ledger()

    def _find_ledger(self) -> Ledger:
        key = (os.getpid(), *self._server(), self.unacked_key)
        if key not in _ledgers:
            pool = self._get_pool()
            pool.connection_kwargs["socket_timeout"] = ANSWER_SECONDS
            client = redis.Redis(connection_pool=pool)
            _ledgers[key] = Ledger(client, self.unacked_index_key, self.unacked_key, self.lease)
        return _ledgers[key]

    def _server(self) -> tuple[Any, ...]:
        """Name the server, for as long as this process may connect to it again."""
        info = self.connection.client
        return info.hostname, info.port, info.virtual_host

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume from a queue; one without acknowledgements stays on kombu's own way."""
        if no_ack and queue not in self._fanout_queues:
            self._no_ack.add(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def decode_body(self, body: Any, encoding: str | None = None) -> Any:
        """Decode a message's body; one that cannot be decoded is empty.

        Its headers say whose job it is: so the consumer refuses it, and its caller hears of it.
        """
        try:
            if encoding == "base64":
                return a2b_base64(body)
            return super().decode_body(body, encoding)
        except NO_ENVELOPE:
            return b""

    def close(self) -> None:
        """Close the channel; what a claim has sent for is read first, so that it is given back."""
        if self._in_poll and self._claiming:
            try:
                claimed = self._read_claim()
                # Not delivered first: nobody consumes any more, and kombu would put each back by
                # itself, the last one first.
                self.ledger.give_back_soon([tag for tag, _, _, _ in claimed])
            except (Empty, *self.connection_errors) as error:
                logger.debug("a claim ended with the channel: %s", type(error).__name__)
            self._in_poll = None
        self.peeks.close()
        super().close()

    # -- claiming: kombu calls these two where it would send and read a BRPOP ---------------------

    def _brpop_start(self, *args: Any, **kwargs: Any) -> None:
        if self._takes_replies():
            super()._brpop_start(*args, **kwargs)
            return
        lists = self._lists()
        if self.peeks.idle:
            self.peeks.start(key for key, _ in lists)
            return
        credit = self.qos.can_consume_max_estimate()
        limit = self.claim_limit if credit is None else min(self.claim_limit, credit)
        if not lists or limit <= 0:
            return
        if give_back_doubted(self.ledger, self.queues_of):
            logger.warning("jobs of a claim that was cut off went back to the queue")
        self._claims += 1
        share = limit // max(EVERY, len(lists))
        if not share and self._turns.due():
            lists.sort(key=lambda each: self._turns.last(each[0]))
        else:
            self._ordinary += 1
        self._claiming, self._asked = lists, limit
        self._brpop_sent_at = monotonic()
        connection = self._in_poll = self.client.connection
        connection.send_command(
            "EVALSHA",
            self._claim_sha or self._load_claim(),
            2 + len(lists),
            self.unacked_index_key,
            self.unacked_key,
            *(key for key, _ in lists),
            limit,
            self._claim_prefix(),
            share,
            *(json.dumps(queue) for _, queue in lists),
        )

    def _claim_prefix(self) -> str:
        return f"{self.tag_prefix}{self._claims}."

    def queues_of(self, exchange: str, routing_key: str) -> list[str]:
        """Give the queues that an exchange routes a key to."""
        return list(self._lookup(exchange, routing_key)) if exchange else [routing_key]

    def _brpop_read(self, **options: Any) -> Any:
        if not self._claiming:
            return super()._brpop_read(**options)
        self._deliver_claimed(self._read_claim(**options))
        return True

    def _read_claim(self, **options: Any) -> list[Claimed]:
        """Read the answer to a claim; from now on its deliveries are held."""
        lists, self._claiming = self._claiming, []
        try:
            flat = self.client.parse_response(self.client.connection, "EVALSHA", **options)
        except redis.exceptions.NoScriptError:
            self._claim_sha = ""  # the server was restarted
            raise Empty from None
        except self.connection_errors:
            self.ledger.doubt(f"{self._claim_prefix()}{at + 1}" for at in range(self.claim_limit))
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
        # Fewer than were asked for are as a rule all that there were. Where they are not, a peek
        # answers at once; a second claim would mostly find nothing, while the first one's jobs wait
        # for this process.
        self.peeks.idle = len(flat) < 2 * self._asked
        if not flat:
            raise Empty
        prefix = self._claim_prefix()
        claimed = [
            (f"{prefix}{at + 1}", *lists[flat[2 * at]], flat[2 * at + 1])
            for at in range(len(flat) // 2)
        ]
        for at in set(flat[::2]):
            self._turns.had(lists[at][0])
        # Before the first is delivered: whatever comes of it, the others are held.
        self.ledger.claimed({tag: key for tag, key, _, _ in claimed})
        return claimed

    def _deliver_claimed(self, claimed: list[Claimed]) -> None:
        for at, (tag, _, queue, text) in enumerate(claimed):
            try:
                message = read_envelope(text)
                message["properties"]["delivery_tag"] = tag
            except NO_ENVELOPE:
                logger.error("a message in %s is not in kombu's form; it is dropped", queue)
                self.qos.drop(tag)
                continue
            try:
                self.connection._deliver(message, queue)
            except Exception:
                # The connection ends with this one. Nobody was told of the others, so nobody
                # else would give them back.
                self.ledger.give_back_soon([other for other, _, _, _ in claimed[at + 1 :]])
                raise

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **kwargs: Any) -> None:
        """Send to all who listen, and count them."""
        if kwargs.get("_publish_batch") is not None:  # one of several that go out together
            super()._put_fanout(exchange, message, routing_key, **kwargs)
            return
        payload = json.dumps(message)
        with self.conn_or_acquire() as client:
            self.listeners = sum(
                client.publish(topic, payload)
                for topic in self._get_publish_topics(exchange, routing_key)
            )

    def _takes_replies(self) -> bool:
        """Tell whether a queue without acknowledgements is read: replies to a remote control."""
        return not self.ack_emulation or not self._no_ack.isdisjoint(self._active_queues)

    def _load_claim(self) -> str:
        sha: str = self.ledger.client.script_load(CLAIM)
        self._claim_sha = sha
        return sha

    def _lists(self) -> list[tuple[str, str]]:
        queues = self._queue_cycle.consume(len(self.active_queues))
        # Each is in its turn the first of its priority, which takes the most.
        first = self._ordinary % max(1, len(queues))
        queues = [*queues[first:], *queues[:first]]
        return [
            (self._q_for_pri(queue, step), queue)
            for step in self.priority_steps
            for queue in queues
        ]

    def _poll_error(self, type: str, **options: Any) -> Any:
        if type.startswith(PEEK):
            return self.peeks.read(type)
        return super()._poll_error(type, **options)


class Transport(stock.Transport):
    """The transport of a worker."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()


TRANSPORT_ALIASES[ALIAS] = f"{__name__}:{Transport.__name__}"
