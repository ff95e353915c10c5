"""The courier: takes due events, posts many at once, and lets no receiver delay another's."""

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import redis

from stoker_config import keys
from stoker_config.secrets import Secrets
from stoker_config.servers import connect
from stoker_config.settings import Settings
from stoker_config.stores import open_store
from stoker_workers.engine.faults import log_fault
from stoker_workers.outside.addresses import Guard
from stoker_workers.outside.connection import Outside
from stoker_workers.webhooks.due import DueEvents, Leased, Noted
from stoker_workers.webhooks.post import Post

logger = logging.getLogger(__name__)

# How often it looks by itself; new events wake it at once.
_LOOK_SECONDS: Final = 1.0
_HEAR_SECONDS: Final = 0.2
_SWEEP_SECONDS: Final = 60.0
_LONGEST_PAUSE: Final = 5.0
_LEAST_LEASE: Final = 60.0


class Courier:
    """Delivers events until it is stopped.

    Args:
        client: A redis-py client.
        due: Where events come from.
        post: Makes one attempt.
        slots: How many attempts run at once.
        host_slots: How many of these may be one origin's.
    """

    def __init__(
        self,
        client: Any,
        due: DueEvents,
        post: Callable[[Leased], Noted],
        *,
        slots: int,
        host_slots: int,
    ) -> None:
        self._client = client
        self._due = due
        self._post = post
        self._slots = slots
        self._host_slots = host_slots
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="stoker-post")
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()
        self._look = threading.Event()
        self._stopping = threading.Event()
        self._swept = 0.0

    def run(self) -> None:
        """Deliver until `stop` is called; attempts that run then are ended first."""
        listener = threading.Thread(target=self._listen, name="stoker-wake", daemon=True)
        listener.start()
        pause = 0.0
        while not self._stopping.is_set():
            try:
                self.step()
                pause = 0.0
            except redis.RedisError as error:
                pause = min(2 * pause + 0.1, _LONGEST_PAUSE)
                logger.warning("events have to wait: %s", type(error).__name__)
            self._stopping.wait(pause)
            self._look.wait(_LOOK_SECONDS)
            self._look.clear()
        self._pool.shutdown(wait=True)
        listener.join()

    def step(self) -> int:
        """Begin as many attempts as there are due events and free slots.

        Returns:
            How many.
        """
        if time.monotonic() - self._swept > _SWEEP_SECONDS:
            given_up = self._due.sweep()
            self._swept = time.monotonic()
            if given_up:
                logger.warning("%d events had waited for days and are given up", given_up)
        with self._lock:
            busy = dict(self._busy)
        # Asked even without a free slot: it is also how the server knows that this one lives.
        free = self._slots - sum(busy.values())
        events = self._due.claim(free, self._slots // 4, self._host_slots, busy)
        with self._lock:
            self._busy.update(event.origin for event in events)
        for event in events:
            self._pool.submit(self._attempt, event)
        return len(events)

    def stop(self) -> None:
        """Have `run` end; safe in a signal handler."""
        self._stopping.set()
        self._look.set()

    def _attempt(self, event: Leased) -> None:
        try:
            noted = self._post(event)
            if not self._due.note(event, noted):
                logger.warning("event %s took longer than its lease", event.id)
            elif noted.outcome != "delivered":
                logger.info("event %s: %s, %s", event.id, noted.outcome, _why(noted))
        except Exception as error:  # noqa: BLE001 - its lease lapses, and it is posted again
            log_fault(logger, "an attempt could not be noted", error)
        finally:
            with self._lock:
                self._busy[event.origin] -= 1
                if not self._busy[event.origin]:
                    del self._busy[event.origin]
            self._look.set()

    def _listen(self) -> None:
        """Wake the courier when events come; it looks by itself while this cannot."""
        while not self._stopping.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(keys.WAKE)
                    while not self._stopping.is_set():
                        if channel.get_message(timeout=_HEAR_SECONDS) is not None:
                            self._look.set()
            except redis.RedisError:
                self._stopping.wait(_LONGEST_PAUSE)


def run(settings: Settings) -> int:
    """Run a courier until SIGTERM or SIGINT.

    Args:
        settings: Where events wait, what signs them, where they may be posted to.

    Returns:
        The process's exit code.
    """
    client = connect(settings)
    secrets = Secrets(settings)
    courier = Courier(
        client,
        DueEvents(
            client,
            lease=max(_LEAST_LEASE, 4 * settings.webhook_timeout),
            keep=settings.webhook_expires,
        ),
        Post(
            Outside(Guard(settings.allowed_networks)),
            secrets,
            settings.webhook_timeout,
            open_store(settings, client) if settings.s3_bucket else None,
        ),
        slots=settings.webhook_slots,
        host_slots=settings.webhook_host_slots,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: courier.stop())
    names = sorted(secrets.all())
    logger.info("the courier is ready; secrets: %s", ", ".join(names) or "none yet")
    courier.run()
    client.close()
    return 0


def _why(noted: Noted) -> str:
    return str(noted.attempt["error"] or noted.attempt["status"])
