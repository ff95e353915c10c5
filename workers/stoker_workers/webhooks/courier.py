"""The courier: takes due events, posts many at once, and lets no receiver delay another's."""

import asyncio
import logging
import resource
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import redis

from stoker_config import keys
from stoker_config.secrets import Secrets
from stoker_config.servers import connect, connect_async
from stoker_config.settings import Settings
from stoker_config.stores import open_store
from stoker_workers.engine.faults import log_fault
from stoker_workers.outside.addresses import Guard
from stoker_workers.outside.lookups import MOST_LOOKUPS
from stoker_workers.outside.posting import MOST_IDLE, Poster
from stoker_workers.webhooks.due import DueEvents, Leased, Noted
from stoker_workers.webhooks.post import Post
from stoker_workers.webhooks.slots import Begun, Slots

logger = logging.getLogger(__name__)

# How often it looks by itself; new events wake it at once.
_LOOK_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 60.0
_LONGEST_PAUSE: Final = 5.0
_LEAST_LEASE: Final = 60.0
# Events of one call, which the server answers nobody else beside.
_AT_ONCE: Final = 100
# How often it tries to note what has ended before it ends itself.
_LAST_TRIES: Final = 5
# Files that are open beside the connections to receivers: Redis, logs, names that are looked up.
_FILES: Final = 64 + MOST_LOOKUPS


class Courier:
    """Delivers events until it is stopped.

    Args:
        client: A client of redis.asyncio, of the loop that it runs in.
        due: Where events come from.
        post: Makes one attempt.
        slots: How many attempts run at once.
        host_slots: How many of these may be one origin's, beside those that others have overtaken.
    """

    def __init__(
        self,
        client: Any,
        due: DueEvents,
        post: Callable[[Leased], Awaitable[Noted]],
        *,
        slots: int,
        host_slots: int,
    ) -> None:
        self._client = client
        self._due = due
        self._post = post
        self._reserve = slots // 4
        self._host_slots = host_slots
        self._slots = Slots(slots, host_slots)
        self._attempts: set[asyncio.Task[None]] = set()
        self._ended: list[tuple[Leased, Noted]] = []
        self._look = asyncio.Event()
        self._stopped = asyncio.Event()
        self._swept = 0.0

    async def run(self) -> None:
        """Deliver until `stop` is called; attempts that run then are ended first."""
        listener = asyncio.create_task(self._listen(), name="stoker-wake")
        pause = 0.0
        while not self._stopped.is_set():
            # What happens from here on has it look again.
            self._look.clear()
            try:
                await self.step()
                pause = 0.0
            except redis.RedisError as error:
                pause = min(2 * pause + 0.1, _LONGEST_PAUSE)
                logger.warning("events have to wait: %s", type(error).__name__)
                await _first(self._stopped, pause)
            else:
                await _first(self._look, _LOOK_SECONDS)
        listener.cancel()
        await asyncio.gather(listener, *self._attempts, return_exceptions=True)
        await self._note_the_last()

    async def step(self) -> int:
        """Note what has ended, and begin as many attempts as there are due events and free slots.

        Returns:
            How many have begun.
        """
        await self._note()
        if time.monotonic() - self._swept > _SWEEP_SECONDS:
            given_up = await self._due.sweep()
            self._swept = time.monotonic()
            if given_up:
                logger.warning("%d events had waited for days and are given up", given_up)
        # Asked even without a free slot: it is also how the server knows that this one lives.
        free = self._slots.free
        some = min(free, _AT_ONCE)
        reserve = max(0, self._reserve - (free - some))
        events = await self._due.claim(some, reserve, self._host_slots, self._slots.busy())
        for event in events:
            begun = self._slots.begin(event.origin)
            attempt = asyncio.create_task(self._attempt(event, begun))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempts.discard)
        if len(events) == some < free:
            self._look.set()
        return len(events)

    def stop(self) -> None:
        """Have `run` end."""
        self._stopped.set()
        self._look.set()

    async def _attempt(self, event: Leased, begun: Begun) -> None:
        noted = None
        try:
            noted = await self._post(event)
        except Exception as error:  # noqa: BLE001 - its lease lapses, and it is posted again
            log_fault(logger, "an attempt could not be made", error)
        outlived = self._slots.end(begun, well=noted is not None and noted.origin == "well")
        if noted is not None:
            # Its origin has been well since it began, unless it asks for a pause.
            if outlived and noted.origin == "trouble" and not noted.pause:
                noted = replace(noted, origin="")
            self._ended.append((event, noted))
        self._look.set()

    async def _note(self) -> None:
        """Note what has ended; what could not be noted is kept until it can."""
        while self._ended:
            some = self._ended[:_AT_ONCE]
            ours = await self._due.note(some)
            del self._ended[: len(some)]
            for (event, noted), done in zip(some, ours, strict=True):
                if not done:
                    logger.warning(
                        "event %s was noted before, or is another courier's by now", event.id
                    )
                elif noted.outcome != "delivered":
                    logger.info("event %s: %s, %s", event.id, noted.outcome, _why(noted))

    async def _note_the_last(self) -> None:
        for tried in range(_LAST_TRIES):
            try:
                await self._note()
            except redis.RedisError:
                await asyncio.sleep(0.1 * 2**tried)
            else:
                return
        logger.warning("%d attempts could not be noted: these are made again", len(self._ended))

    async def _listen(self) -> None:
        """Wake the courier when events come; it looks by itself while this cannot."""
        while True:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(keys.WAKE)
                    while True:
                        if await channel.get_message(timeout=_LOOK_SECONDS) is not None:
                            self._look.set()
            except redis.RedisError:
                await asyncio.sleep(_LONGEST_PAUSE)


def run(settings: Settings) -> int:
    """Run a courier until SIGTERM or SIGINT.

    Args:
        settings: Where events wait, what signs them, where they may be posted to.

    Returns:
        The process's exit code.
    """
    secrets = Secrets(settings)
    names = sorted(secrets.all())
    asyncio.run(_run(settings, secrets, names))
    return 0


async def _run(settings: Settings, secrets: Secrets, names: list[str]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_of_loop)
    store = open_store(settings, connect(settings)) if settings.s3_bucket else None
    poster = Poster(Guard(settings.allowed_networks))
    post = Post(poster, secrets, settings.webhook_timeout, store)
    async with connect_async(settings) as client:
        courier = Courier(
            client,
            DueEvents(
                client,
                lease=max(_LEAST_LEASE, 4 * settings.webhook_timeout),
                keep=settings.webhook_expires,
            ),
            post,
            slots=_affordable(settings.webhook_slots),
            host_slots=settings.webhook_host_slots,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, courier.stop)
        logger.info("the courier is ready; secrets: %s", ", ".join(names) or "none yet")
        await courier.run()
        await post.close()


async def _first(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, and no longer than this."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _affordable(slots: int) -> int:
    """Have the system let this process open as many connections; give how many it does."""
    wanted = slots + MOST_IDLE + _FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return slots
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    fits = max(1, max(soft, limit) - MOST_IDLE - _FILES)
    if fits < slots:
        logger.warning(
            "of %d slots this process may have %d: raise its limit of open files (ulimit -n)",
            *(slots, fits),
        )
    return min(slots, fits)


def _log_of_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if error is not None:
        log_fault(logger, "something of the courier's event loop failed", error)


def _why(noted: Noted) -> str:
    return str(noted.attempt["error"] or noted.attempt["status"])
