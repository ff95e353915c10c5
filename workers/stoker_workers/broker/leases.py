"""Gives back what workers held that are silent or dead, marked as delivered before."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from stoker_config import keys
from stoker_config.keys import PRIORITY_STEPS
from stoker_config.lapsed import VISIBILITY_TIMEOUT
from stoker_workers.broker.envelope import NO_ENVELOPE
from stoker_workers.broker.ledger import Ledger, Return
from stoker_workers.broker.scripts import LAPSED

logger = logging.getLogger(__name__)

# How many lapsed deliveries one sweep gives back at most.
_SWEEP: Final = 200

QueuesOf = Callable[[str, str], Sequence[str]]


def give_back_lapsed(ledger: Ledger, lease: float, queues_of: QueuesOf) -> int:
    """Give back deliveries whose holder has been silent for longer than the lease.

    Args:
        ledger: Of the server; whose deliveries they were does not matter.
        lease: Seconds.
        queues_of: Gives the queues that an exchange routes a key to, for a stock worker's.

    Returns:
        How many there were.
    """
    flat = ledger.client.eval(
        LAPSED, 2, ledger.index, ledger.table, lease, VISIBILITY_TIMEOUT, _SWEEP
    )
    held = {tag.decode(): text for tag, text in zip(flat[::2], flat[1::2], strict=True)}
    return _give_back(ledger, held, queues_of)


def give_back_of(ledger: Ledger, worker_id: str) -> int:
    """Give back all deliveries of one worker that is known to be dead.

    Args:
        ledger: Of the worker's server.
        worker_id: What the worker's tags begin with.

    Returns:
        How many there were.
    """
    tags = [
        tag.decode()
        for tag, _ in ledger.client.zscan_iter(ledger.index, match=f"{worker_id}-*", count=1000)
    ]
    if not tags:
        return 0
    # In the order in which they were claimed: the claim's number, then the place in it.
    tags.sort(key=lambda tag: [int(part) for part in tag.split(".")[1:]])
    texts = ledger.client.hmget(ledger.table, tags)
    held = {tag: text for tag, text in zip(tags, texts, strict=True) if text is not None}
    return _give_back(ledger, held, lambda _, routing_key: [routing_key])


def give_back_doubted(ledger: Ledger, queues_of: QueuesOf) -> int:
    """Give back what claims took whose answers were lost with their connection.

    Nobody was told of it, so it would otherwise lie there until its lease lapses.

    Args:
        ledger: Of the process that claimed.
        queues_of: Gives the queues that an exchange routes a key to.

    Returns:
        How many there were.
    """
    tags = ledger.doubted()
    if not tags:
        return 0
    texts = ledger.client.hmget(ledger.table, tags)
    held = {tag: text for tag, text in zip(tags, texts, strict=True) if text is not None}
    done = _give_back(ledger, held, queues_of)
    ledger.settled(tags)
    return done


def give_back_marked(ledger: Ledger, tags: Sequence[str], queues_of: QueuesOf) -> None:
    """Give back deliveries that this process holds, marked as delivered before.

    Args:
        ledger: Of this process.
        tags: The deliveries.
        queues_of: Gives the queues that an exchange routes a key to.
    """
    texts = ledger.client.hmget(ledger.table, tags)
    held = {tag: text for tag, text in zip(tags, texts, strict=True) if text is not None}
    _give_back(ledger, held, queues_of)
    ledger.acknowledged(tags)


def _give_back(ledger: Ledger, held: Mapping[str, bytes], queues_of: QueuesOf) -> int:
    messages, dropped = [], []
    for tag, text in held.items():
        try:
            messages.append(_returned(tag, text, queues_of))
        except NO_ENVELOPE:
            dropped.append(tag)
    if dropped:
        logger.error("%d messages are not in kombu's form; they are dropped", len(dropped))
        ledger.acknowledge(dropped)
    return ledger.restore(messages) if messages else 0


def _returned(tag: str, text: bytes, queues_of: QueuesOf) -> Return:
    message, exchange, routing_key = json.loads(text)
    message["headers"] = {**(message.get("headers") or {}), "redelivered": True}
    properties = message["properties"]
    info = properties.get("delivery_info") or {}
    properties["delivery_info"] = {**info, "redelivered": True}
    queue = next(iter(queues_of(exchange, routing_key)), routing_key)
    key = keys.queue(queue, _priority(properties), PRIORITY_STEPS)
    job_id = message["headers"].get("id")
    died = job_id if isinstance(job_id, str) else ""
    # What UTF-8 has no bytes for would end the call that gives all of them back.
    (key + died).encode()
    return Return(tag, key, json.dumps(message), died)


def _priority(properties: Mapping[str, Any]) -> int:
    try:
        return max(min(int(properties["priority"]), 9), 0)
    except (TypeError, ValueError, KeyError, OverflowError):
        return 0
