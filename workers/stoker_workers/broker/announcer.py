"""Says every few seconds that this worker lives and what it serves."""

import logging
import threading
from collections.abc import Callable

import redis

from stoker_config.serving import ALIVE_SECONDS, Registry, Serving

logger = logging.getLogger(__name__)


class Announcer:
    """A thread that keeps a worker's entry in the serving registry.

    Args:
        registry: The registry.
        describe: Says what the worker serves now.
    """

    def __init__(self, registry: Registry, describe: Callable[[], Serving]) -> None:
        self._registry = registry
        self._describe = describe
        self._end = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stoker-announcer", daemon=True)

    def start(self) -> None:
        """Announce the worker now, and from now on."""
        self._announce()
        self._thread.start()

    def again(self) -> None:
        """Announce what has changed. Never blocks."""
        self._wake.set()

    def stop(self) -> None:
        """Withdraw the worker."""
        self._end = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(ALIVE_SECONDS)
        try:
            self._registry.withdraw(self._describe().worker)
        except redis.RedisError as error:
            logger.warning("the worker could not be withdrawn: %s", type(error).__name__)

    def _run(self) -> None:
        while True:
            self._wake.wait(ALIVE_SECONDS / 3)
            self._wake.clear()
            if self._end:
                return
            self._announce()

    def _announce(self) -> None:
        # Not even the first time is it worth a worker whose models are loaded.
        try:
            self._registry.announce(self._describe())
        except redis.RedisError as error:
            logger.warning("the worker could not be announced: %s", type(error).__name__)
