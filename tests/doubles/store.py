"""An artifact store in memory, which no test of the engine needs a server for."""

from collections.abc import Mapping, Sequence
from typing import Any

from stoker_config.artifacts import BINARY, gone, new_uri
from stoker_config.cache import ResultCache
from stoker_config.settings import Settings
from stoker_workers.engine.fetching import Fetch
from stoker_workers.engine.inputs import nowhere
from stoker_workers.engine.payloads import Payloads


class MemoryStore:
    """An `ArtifactStore` whose contents a test can see; `expires` has each one's seconds."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.expires: dict[str, int | None] = {}

    def check(self) -> None:
        """Nothing can be wrong with it."""

    def put(
        self,
        data: bytes,
        *,
        uri: str | None = None,
        mime_type: str = BINARY,
        expires: int | None = None,
    ) -> str:
        uri = uri or new_uri()
        self.kept[uri], self.expires[uri] = data, expires
        return uri

    def get(self, uris: Sequence[str]) -> Mapping[str, bytes]:
        return {uri: self.kept[uri] for uri in uris if uri in self.kept}

    def delete(self, uris: Sequence[str]) -> None:
        for uri in uris:
            self.kept.pop(uri, None)

    def presign(self, uri: str, seconds: int | None = None) -> str:
        raise gone(uri)


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
