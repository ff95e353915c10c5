"""The worker's result backend where results have a server of their own: these are stored first.

What tells of them and acknowledges their deliveries comes after, on the broker's server: a crash
between the two repeats a job, and then what stands is told, whatever came of the repetition.
"""

import logging
from collections.abc import Sequence
from typing import Any

from stoker_config import keys
from stoker_config.servers import connect
from stoker_config.settings import Settings
from stoker_tasks.event import Event
from stoker_tasks.stored import read
from stoker_workers.broker.backend import CollectingBackend
from stoker_workers.broker.results import Deliveries, Stored
from stoker_workers.broker.storing import (
    CONCLUDE,
    CONCLUDE_WHEN_FULL,
    SETTLE,
    numbered,
    run_or_when_full,
    run_script,
)

logger = logging.getLogger(__name__)

# The name under which an app's configuration has the settings of its broker's server.
SETTINGS = "stoker_settings"


class ApartBackend(CollectingBackend):
    """A `CollectingBackend` whose results are not where their jobs came from."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings: Settings = self.app.conf[SETTINGS]
        self._broker = connect(settings)
        self._conclude = self._broker.register_script(CONCLUDE)
        self._conclude_when_full = self._broker.register_script(CONCLUDE_WHEN_FULL)
        self._settle: Any = None

    @property
    def broker(self) -> Any:
        """A client of the server that jobs come from."""
        return self._broker

    def _store_all(self, results: list[Stored], deliveries: Deliveries) -> None:
        lost = self._lost(results, deliveries)
        if lost:
            logger.warning(
                "%d jobs had gone to another worker; their results are dropped", len(lost)
            )
        kept = [each for each in results if deliveries.tags.get(each.job) not in lost]
        if kept:
            self._tell(kept, self._settled(kept), deliveries)

    def _lost(self, results: Sequence[Stored], deliveries: Deliveries) -> set[str]:
        """List the tags of those deliveries that are held no longer."""
        tags = [tag for each in results if (tag := deliveries.tags.get(each.job))]
        scores = self._broker.zmscore(deliveries.index, tags) if tags else []
        return {tag for tag, score in zip(tags, scores, strict=True) if score is None}

    def _settled(self, results: Sequence[Stored]) -> list[Event | None]:
        """Store results on their server, and give what is to be told of what stands there."""
        if self._settle is None:
            self._settle = self.client.register_script(SETTLE)
        stands = run_script(
            self._settle,
            keys=[each.key for each in results],
            args=[arg for each in results for arg in (each.value, each.expires)],
        )
        return [
            _told(each, before) if before else each.event
            for each, before in zip(results, stands, strict=True)
        ]

    def _tell(
        self,
        results: Sequence[Stored],
        events: Sequence[Event | None],
        deliveries: Deliveries,
    ) -> None:
        jobs = [
            arg
            for each in results
            for arg in (each.job, deliveries.tags.get(each.job, ""), each.tenant)
        ]
        run_or_when_full(
            self._conclude,
            self._conclude_when_full,
            keys=[keys.JOBS, keys.RUNNING, deliveries.index, deliveries.table],
            args=[len(results), *jobs, *numbered(events)],
        )


def _told(result: Stored, before: bytes) -> Event | None:
    """Tell of an end that was stored by an earlier delivery, which died before it told of it."""
    ended = read(before) if result.listener else None
    return result.listener.completed(result.job, ended) if result.listener and ended else None
