"""The deliveries that this process holds: their leases, acknowledgements and return.

kombu's channels die with every lost connection; the ledger outlives them. What the engine works on
stays held meanwhile, so a reconnect neither gives it to another worker nor forgets it.
"""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from stoker_workers.broker.scripts import BEAT, RESTORE
from stoker_workers.engine.faults import log_fault

logger = logging.getLogger(__name__)

_CALL: Final = 500
# Seconds after a heartbeat that failed; each further one takes twice as long, up to the usual time.
_AGAIN: Final = 0.25
_DOUBLINGS: Final = 16


def ledger_of(request: Any) -> "Ledger | None":
    """Give the ledger that holds a request's delivery; None on kombu's own transport."""
    return getattr(request.message.channel, "ledger", None)


@dataclass(frozen=True, slots=True)
class Return:
    """A delivery whose message goes back to its queue.

    Attributes:
        tag: Its tag.
        key: The list that its message goes back to.
        text: The message; as it was claimed if "".
        died: The job's ID, if its holder is dead or silent; "" if it is given back in order.
    """

    tag: str
    key: str
    text: str = field(default="", repr=False)
    died: str = ""


class Ledger:
    """The held deliveries of one process on one server. Safe for threads.

    Args:
        client: A redis-py client with a pool of its own.
        index: The sorted set of held tags by the time of their last beat.
        table: The hash of held tags to messages.
        lease: Seconds after which a delivery whose holder is silent goes to another worker.
    """

    def __init__(self, client: Any, index: str, table: str, lease: float) -> None:
        self.client = client
        self.index = index
        self.table = table
        self._lease = lease
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        # Each tag with the list that its message came from.
        self._held: dict[str, str] = {}
        self._working: set[str] = set()
        self._ended: list[str] = []
        self._returning: list[str] = []
        self._resting: set[str] = set()
        self._doubted: list[str] = []
        self._beat = client.register_script(BEAT)
        self._restore = client.register_script(RESTORE)
        self._thread: threading.Thread | None = None
        self._end = threading.Event()

    # -- holding -----------------------------------------------------------------------------

    def claimed(self, tags: Mapping[str, str]) -> None:
        """Note deliveries that a claim has just registered; from now on their leases are renewed.

        Args:
            tags: Each tag and the list that its message came from.
        """
        with self._lock:
            self._held.update(tags)
            if self._thread is None and not self._end.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="stoker-heartbeat", daemon=True
                )
                self._thread.start()

    def doubt(self, tags: Iterable[str]) -> None:
        """Note what a claim may have taken whose answer was lost with its connection."""
        with self._lock:
            self._doubted.extend(tags)

    def doubted(self) -> list[str]:
        """List what claims may have taken whose answers were lost."""
        with self._lock:
            return list(self._doubted)

    def settled(self, tags: Sequence[str]) -> None:
        """Note that nothing of these is in doubt any more."""
        with self._lock:
            del self._doubted[: len(tags)]

    def working(self, tag: str) -> None:
        """Note that the engine has taken a delivery in: a lost connection does not end it."""
        with self._lock:
            # What a closing channel still delivers is not worked on any more.
            if tag in self._held and not self._end.is_set():
                self._working.add(tag)

    def holds(self, tag: str) -> bool:
        """Tell whether a delivery is held here, and neither acknowledged nor given back."""
        return tag in self._held  # one step, which needs no lock

    def count(self) -> int:
        """Count the held deliveries."""
        with self._lock:
            return len(self._held)

    # -- letting go --------------------------------------------------------------------------

    def acknowledged(self, tags: Iterable[str]) -> None:
        """Note deliveries that a script has acknowledged on the server already."""
        with self._lock:
            for tag in tags:
                self._held.pop(tag, None)
                self._working.discard(tag)
                self._resting.discard(tag)

    def acknowledge_soon(self, tag: str) -> None:
        """Have a delivery acknowledged with the next `flush`."""
        with self._lock:
            self._ended.append(tag)

    def flush(self) -> None:
        """Acknowledge all that wait for it; if the server is away, they go on waiting."""
        # The event loop and the heartbeat both flush: one at a time, lest tags are forgotten.
        with self._flushing:
            with self._lock:
                tags = list(self._ended)
            for start in range(0, len(tags), _CALL):
                some = tags[start : start + _CALL]
                try:
                    self.acknowledge(some)
                except redis.RedisError as error:
                    logger.warning("acknowledgements have to wait: %s", type(error).__name__)
                    return
                with self._lock:
                    del self._ended[: len(some)]

    def acknowledge(self, tags: Sequence[str]) -> None:
        """Acknowledge deliveries, all in one round trip."""
        # No transaction, which a server without memory would refuse. What is cut off between the
        # two is an entry of the index without a message, which the next look at lapsed ones drops.
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hdel(self.table, *tags)
            pipe.zrem(self.index, *tags)
            pipe.execute()
        self.acknowledged(tags)

    def give_back(self, tags: Iterable[str]) -> int:
        """Put messages back at the head of their queues, unchanged and in their order.

        Args:
            tags: Deliveries in the order in which they were claimed; others are ignored.

        Returns:
            How many there were.
        """
        with self._lock:
            back = [(tag, self._held[tag]) for tag in tags if tag in self._held]
        done = 0
        # The last one put back is the first one served.
        for start in range(0, len(back), _CALL):
            end = len(back) - start
            done += self.restore([Return(tag, key) for tag, key in back[max(0, end - _CALL) : end]])
        self.acknowledged(tag for tag, _ in back)
        return done

    def restore(self, messages: Sequence[Return]) -> int:
        """Put messages back, whoever held them.

        Args:
            messages: The first is to be served first.

        Returns:
            How many tags were still held.
        """
        lists = list(dict.fromkeys(each.key for each in messages))
        number = {key: at for at, key in enumerate(lists, 1)}
        args = [
            arg
            for each in reversed(messages)
            for arg in (each.tag, number[each.key], each.text, each.died)
        ]
        return int(self._restore(keys=[self.index, self.table, *lists], args=args))

    def connection_lost(self, tags: Iterable[str]) -> None:
        """Give back what a dead channel delivered, but for what the engine works on.

        Celery forgets what has not been started (a countdown, a rate limit) when it reconnects.
        """
        with self._lock:
            idle = [tag for tag in tags if tag in self._held and tag not in self._working]
        self.give_back_soon(idle)

    def rest(self, tags: Iterable[str]) -> None:
        """Have deliveries go back with the next heartbeat, and not before.

        They could not be ended, and most likely cannot be at once either: without a rest they would
        come back again and again as fast as the server answers.
        """
        with self._lock:
            self._resting.update(tag for tag in tags if tag in self._held)

    def give_back_soon(self, tags: Iterable[str]) -> None:
        """Give deliveries back now; if the server is away, with the heartbeat that reaches it.

        Else their leases would be renewed for as long as the process lives, with nobody at work.
        """
        with self._lock:
            self._returning.extend(tag for tag in tags if tag not in self._resting)
        try:
            self._return()
        except redis.RedisError as error:
            logger.warning("jobs that go back have to wait: %s", type(error).__name__)

    def _return(self) -> None:
        with self._lock:
            tags = list(self._returning)
        if tags:
            self.give_back(tags)
            with self._lock:
                self._returning = [tag for tag in self._returning if tag in self._held]

    def close(self) -> None:
        """Give everything back that is still held, and stop renewing leases."""
        self._end.set()
        self.flush()
        with self._lock:
            tags = list(self._held)
        if not tags:
            return
        try:
            logger.info("%d jobs that were not started go back to the queue", self.give_back(tags))
        except redis.RedisError as error:
            logger.warning(
                "%d jobs could not be given back (%s): they go to another worker when their "
                "leases lapse",
                len(tags),
                type(error).__name__,
            )

    # -- the heartbeat -----------------------------------------------------------------------

    def beat(self) -> None:
        """Renew all leases now."""
        with self._lock:
            tags = list(self._held)
        for start in range(0, len(tags), _CALL):
            self._beat(keys=[self.index], args=tags[start : start + _CALL])

    def _run(self) -> None:
        usual, failures = self._lease / 3, 0
        while not self._end.wait(_pause(usual, failures)):
            failures = 0 if self.pulse() else failures + 1

    def pulse(self) -> bool:
        """Renew all leases, and have what waits for it acknowledged or given back.

        Returns:
            Whether all of it could be done.
        """
        with self._lock:
            self._returning.extend(self._resting)
            self._resting.clear()
        try:
            self.beat()
            self.flush()
            self._return()
        except redis.RedisError as error:
            logger.warning("leases could not be renewed: %s", type(error).__name__)
            return False
        except Exception as error:  # noqa: BLE001 - without its thread, all leases would lapse
            log_fault(logger, "leases could not be renewed", error)
            return False
        return True


def _pause(usual: float, failures: int) -> float:
    """Give the seconds until the next heartbeat after so many that failed."""
    return min(usual, _AGAIN * 2 ** min(failures - 1, _DOUBLINGS)) if failures else usual
