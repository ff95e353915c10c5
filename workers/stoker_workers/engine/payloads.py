"""What a worker does with jobs' data at both ends of its line: inputs, outputs, earlier answers."""

from dataclasses import dataclass
from typing import Any, Self

from stoker_config.artifacts import Artifacts
from stoker_config.cache import ResultCache
from stoker_config.retention import Retention
from stoker_config.servers import connect_results
from stoker_config.settings import Settings
from stoker_config.stores import open_store
from stoker_workers.engine.cached import CachedAnswers
from stoker_workers.engine.inputs import Fetch, Inputs, nowhere
from stoker_workers.engine.outputs import Outputs


@dataclass(frozen=True)
class Payloads:
    """The three that share one artifact store.

    Attributes:
        inputs: Reads what travelled beside messages.
        outputs: Puts outputs into results, or beside them.
        cached: The answers of earlier jobs.
    """

    inputs: Inputs
    outputs: Outputs
    cached: CachedAnswers

    @classmethod
    def open(
        cls, settings: Settings, client: Any, fetch: Fetch = nowhere, makers: str = ""
    ) -> Self:
        """Open the store that the settings name.

        Args:
            settings: Where it is, and its limits.
            client: A redis-py client.
            fetch: Fetches the files that a job names by URL.
            makers: What beside the model makes an answer; see `CachedAnswers`.

        Raises:
            ValueError: The store is set up wrong: no such bucket, say.
        """
        store = open_store(settings, client)
        store.check()
        results = ResultCache(
            connect_results(settings, client, patient=True), settings.cache_expires
        )
        return cls.over(store, settings, results, fetch, makers)

    @classmethod
    def over(
        cls,
        store: Artifacts,
        settings: Settings,
        results: ResultCache,
        fetch: Fetch = nowhere,
        makers: str = "",
    ) -> Self:
        """Share one store among the three; see `open`."""
        retention = Retention(settings.result_expires, settings.retention_max)
        return cls(
            inputs=Inputs(store, fetch, settings.limits),
            outputs=Outputs(store, settings.result_inline_limit, retention),
            cached=CachedAnswers(results, store, makers),
        )
