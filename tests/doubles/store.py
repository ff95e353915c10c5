"""Artifacts and results in memory: no test of the engine needs a server for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from stoker_config.artifacts import Weight, new_uri
from stoker_config.cache import ResultCache
from stoker_config.settings import Settings
from stoker_workers.engine.inputs import Fetch, nowhere
from stoker_workers.engine.payloads import Payloads


class MemoryStore:
    """`Artifacts` that a test can see; `expires` has each one's seconds."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.expires: dict[str, int | None] = {}

    def put(
        self, data: bytes, *, uri: str | None = None, expires: int | None = None, **_: Any
    ) -> str:
        uri = uri or new_uri()
        if self.kept.setdefault(uri, data) is data:
            self.expires[uri] = expires
        return uri

    def get(self, uris: Sequence[str], most: int | None = None) -> Mapping[str, bytes]:
        weight, found = Weight(most), {}
        for uri in dict.fromkeys(uri for uri in uris if uri in self.kept):
            weight.add(len(self.kept[uri]))
            found[uri] = self.kept[uri]
        return found


class MemoryResults(ResultCache):
    """A `ResultCache` over results that a test puts there."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.noted: dict[str, str] = {}

    def find(self, digest: str) -> dict[str, Any] | None:
        return self.stored.get(self.noted.get(digest, ""))

    def note(self, digest: str, job_id: str) -> None:
        self.noted[digest] = job_id


def payloads(
    store: MemoryStore | None = None,
    results: MemoryResults | None = None,
    fetch: Fetch = nowhere,
    **settings: Any,
) -> Payloads:
    """Give what an engine does with its jobs' data, over a store in memory."""
    store, results = store or MemoryStore(), results or MemoryResults()
    return Payloads.over(store, Settings.model_validate(settings), results, fetch)
