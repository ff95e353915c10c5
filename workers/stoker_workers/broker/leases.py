"""Gives back what workers held that are silent or dead, marked as delivered before."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, Final

from stoker_config import keys
from stoker_config.keys import PRIORITY_STEPS
from stoker_workers.broker.envelope import NO_ENVELOPE
from stoker_workers.broker.ledger import Ledger, Return
from stoker_workers.broker.scripts import LAPSED

logger = logging.getLogger(__name__)

# How many deliveries one look at what has lapsed finds at most: what a dozen workers hold.
_LOOK: Final = 10_000
# How many are given back in one call, and with how many bytes of messages a look ends. The event
# loop waits for it: here 6144 messages of 1 KiB take 0.3 s, and 16 MiB of large ones as long.
_CALL: Final = 200
_ENOUGH: Final = 16 * 2**20

QueuesOf = Callable[[str, str], Sequence[str]]


def give_back_lapsed(
    ledger: Ledger, lease: float, visibility_timeout: float, queues_of: QueuesOf
) -> tuple[int, bool]:
    """Give back deliveries whose holder has been silent for longer than the lease.

    What each of the holders had claimed goes back in its order.

    Args:
        ledger: Of the server; whose deliveries they were does not matter.
        lease: Seconds.
        visibility_timeout: Seconds after which a stock worker's delivery is given back.
        queues_of: Gives the queues that an exchange routes a key to, for a stock worker's.

    Returns:
        How many there were, and whether there may be more, for another look.
    """
    found = ledger.client.eval(
        LAPSED, 2, ledger.index, ledger.table, lease, visibility_timeout, _LOOK
    )
    tags = _in_order([tag.decode() for tag in found])
    done, whole = _give_back(ledger, tags, queues_of, enough=_ENOUGH)
    return done, not whole or len(tags) == _LOOK


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
    return _give_back(ledger, _in_order(tags), lambda _, routing_key: [routing_key])[0]


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
    done, _ = _give_back(ledger, tags, queues_of, dead=False)
    ledger.settled(tags)
    return done


def give_back_marked(ledger: Ledger, tags: Sequence[str], queues_of: QueuesOf) -> None:
    """Give back deliveries that this process holds, marked as delivered before.

    Args:
        ledger: Of this process.
        tags: The deliveries.
        queues_of: Gives the queues that an exchange routes a key to.
    """
    _give_back(ledger, tags, queues_of, dead=False)
    ledger.acknowledged(tags)


def _in_order(tags: Sequence[str]) -> list[str]:
    """Sort by holder, and by claim and place in it; what has no such tag keeps its place."""
    holders: dict[str, int] = {}

    def place(tag: str) -> tuple[int, list[int]]:
        holder, *numbers = tag.rsplit(".", 2)
        rank = holders.setdefault(holder, len(holders))
        return rank, [int(number) for number in numbers if number.isdecimal()]

    return sorted(tags, key=place)


def _give_back(
    ledger: Ledger,
    tags: Sequence[str],
    queues_of: QueuesOf,
    enough: float = inf,
    *,
    dead: bool = True,
) -> tuple[int, bool]:
    """Give deliveries back, the first to be served first.

    Args:
        ledger: Of the server.
        tags: Whatever is not held any more is passed over.
        queues_of: Gives the queues that an exchange routes a key to.
        enough: Bytes of messages; with more than these it ends, whatever is left.
        dead: Whether their holder is dead or silent.

    Returns:
        How many there were, and whether that is all.
    """
    done, size = 0, 0
    # The last one put back is the first one served.
    for end in range(len(tags), 0, -_CALL):
        some = tags[max(0, end - _CALL) : end]
        texts = ledger.client.hmget(ledger.table, some)
        held = {tag: text for tag, text in zip(some, texts, strict=True) if text is not None}
        done += _give_some_back(ledger, held, queues_of, dead=dead)
        size += sum(map(len, held.values()))
        if size > enough and end > _CALL:
            return done, False
    return done, True


def _give_some_back(
    ledger: Ledger, held: Mapping[str, bytes], queues_of: QueuesOf, *, dead: bool
) -> int:
    messages, dropped = [], []
    for tag, text in held.items():
        try:
            messages.append(_returned(tag, text, queues_of, dead=dead))
        except NO_ENVELOPE:
            dropped.append(tag)
    if dropped:
        logger.error("%d messages are not in kombu's form; they are dropped", len(dropped))
        ledger.acknowledge(dropped)
    return ledger.restore(messages) if messages else 0


def _returned(tag: str, text: bytes, queues_of: QueuesOf, *, dead: bool) -> Return:
    message, exchange, routing_key = json.loads(text)
    message["headers"] = {**(message.get("headers") or {}), "redelivered": True}
    properties = message["properties"]
    info = properties.get("delivery_info") or {}
    properties["delivery_info"] = {**info, "redelivered": True}
    queue = next(iter(queues_of(exchange, routing_key)), routing_key)
    key = keys.queue(queue, _priority(properties), PRIORITY_STEPS)
    job_id = message["headers"].get("id")
    died = job_id if dead and isinstance(job_id, str) else ""
    # What UTF-8 has no bytes for would end the call that gives all of them back.
    (key + died).encode()
    return Return(tag, key, json.dumps(message), died)


def _priority(properties: Mapping[str, Any]) -> int:
    try:
        return max(min(int(properties["priority"]), 9), 0)
    except (TypeError, ValueError, KeyError, OverflowError):
        return 0
