"""The files of a client: sent once for many jobs, and read back from results."""

from pathlib import Path

from stoker.server import Server
from stoker_config.artifacts import gone
from stoker_tasks.media import Media


class Files:
    """What a client does with files and artifacts."""

    _server: Server

    def upload(self, file: bytes | Path) -> Media:
        """Send a file once that many jobs will read.

        Args:
            file: Its bytes, or where it is.

        Returns:
            What stands for it in the inputs of jobs, for as long as artifacts are kept.

        Raises:
            TooLarge: It is more than the artifact store takes.
            StorageUnavailable: The store does not answer.
        """
        data = file.read_bytes() if isinstance(file, Path) else file
        return Media(uri=self._server.artifacts.put(data))

    def artifact(self, uri: str) -> bytes:
        """Read the bytes of an artifact that a result names.

        Raises:
            Gone: It has expired, or was deleted.
            StorageUnavailable: It is in S3, which does not answer.
        """
        data = self._server.artifacts.get([uri]).get(uri)
        if data is None:
            raise gone(uri)
        return data

    def presign(self, uri: str, expires: int | None = None) -> str:
        """Make a URL under which anybody can read an artifact, without a key, for a time.

        Args:
            uri: The artifact that a result names.
            expires: Seconds for which the URL is good, or until the artifact expires; as the
                settings say if None.

        Raises:
            Gone: It has expired, or was deleted.
            NoUrl: It is in Redis, where no URL leads to.
            StorageUnavailable: It is in S3, which does not answer.
        """
        return self._server.artifacts.presign(uri, expires)
