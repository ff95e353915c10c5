"""What a worker is given: mostly plain jobs, and now and then one of every other kind."""

import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

from celery import chain

from benchmarks.peers.model import POISON
from stoker import Client, TextClassification
from stoker_tasks.job import Job, Priority

_PRIORITIES: Final[tuple[Priority, ...]] = ("high", "normal", "normal", "low")
_TENANTS: Final = 50
# Seconds within which no job of a queue that is kept full is started.
_TOO_SOON: Final = 0.001
# Of a thousand jobs.
_FAILING: Final = 2
_EXPIRING: Final = 5
_CANCELED: Final = 5
_CHAINED: Final = 3


class Mix:
    """A producer of jobs that follow from a seed.

    Args:
        client: Submits them.
        seed: What they follow from.
    """

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._lot = random.Random(f"soak {seed}")
        self._numbers = count()

    def submit(self, thousands: int) -> int:
        """Submit jobs.

        Args:
            thousands: How many times a thousand; one thousand has all kinds.

        Returns:
            How many were submitted.
        """
        for _ in range(thousands):
            jobs = list(self._thousand())
            self._lot.shuffle(jobs)
            handles = self._client.submit_many(jobs, allow_unserved=True)
            for handle in self._lot.sample(handles, _CANCELED):
                handle.cancel()
            for _ in range(_CHAINED):
                first, then = (self._client.signature(self._job()) for _ in range(2))
                then.set_immutable(True)  # it has inputs of its own
                chain(first, then).apply_async()
        return thousands * (1000 + 2 * _CHAINED)

    def _thousand(self) -> Iterator[Job]:
        special: list[tuple[int, Callable[[], Job]]] = [
            (_FAILING, lambda: TextClassification(inputs=f"{POISON} {next(self._numbers)}")),
            (_EXPIRING, lambda: self._job(queue_timeout=_TOO_SOON)),
            (_EXPIRING, lambda: self._job(idempotency_key=f"key {next(self._numbers)}")),
        ]
        for number, make in special:
            yield from (make() for _ in range(number))
        for _ in range(1000 - sum(number for number, _ in special)):
            yield self._job()

    def _job(self, **fields: object) -> Job:
        tenant = f"tenant-{self._lot.randrange(_TENANTS)}"
        return TextClassification.model_validate(
            {
                "inputs": f"text {next(self._numbers)}",
                "priority": self._lot.choice(_PRIORITIES),
                "tenant": tenant,
                **fields,
            }
        )
