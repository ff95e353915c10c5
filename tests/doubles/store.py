"""An artifact store in memory, which no test of the engine needs a server for."""

from collections.abc import Mapping, Sequence

from stoker_config.artifacts import BINARY, gone, new_uri


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
