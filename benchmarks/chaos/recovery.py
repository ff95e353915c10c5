"""How long it takes until a killed worker's jobs are back in the queue, and until they are done."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis

from stoker_config import keys

_LOOK: Final = 0.02


@dataclass
class Kill:
    """One worker process that was killed.

    Attributes:
        supervised: Whether it had a supervisor.
        phase: What it did: `forward`, `store` or `other`.
        held: The tags of its deliveries and their jobs' IDs, as far as they could be read.
        at: When, in monotonic seconds.
        back: Seconds until none of its deliveries was held any more.
        done: Seconds until all its jobs had a result.
    """

    supervised: bool
    phase: str
    held: Mapping[str, str]
    at: float
    back: float | None = None
    done: float | None = None


class Recovery(threading.Thread):
    """Follows each kill until its jobs are done.

    Args:
        client: A redis-py client of the server.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(name="chaos-recovery", daemon=True)
        self._client = client
        self._open: list[Kill] = []
        self._lock = threading.Lock()
        self._end = threading.Event()

    def follow(self, kill: Kill) -> None:
        """Follow a kill from now on."""
        with self._lock:
            self._open.append(kill)

    def stop(self) -> None:
        """Follow no more."""
        self._end.set()
        self.join(30)

    def run(self) -> None:
        """Look again and again."""
        while not self._end.wait(_LOOK):
            with self._lock:
                kills = list(self._open)
            try:
                for kill in kills:
                    self._look(kill)
            except redis.RedisError:
                continue
            with self._lock:
                self._open = [kill for kill in self._open if kill.done is None]

    def _look(self, kill: Kill) -> None:
        tags, jobs = list(kill.held), list(dict.fromkeys(kill.held.values()))
        if kill.back is None:
            if any(score is not None for score in self._client.zmscore("unacked_index", tags)):
                return
            kill.back = time.monotonic() - kill.at
        if self._client.exists(*map(keys.result, jobs)) == len(jobs):
            kill.done = time.monotonic() - kill.at
