"""Where payloads go that are too large for a message, and binary outputs: an expiring store."""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol
from uuid import uuid4

from stoker_tasks.errors import Gone, InputFetchFailed, TooLarge

SCHEME: Final = "artifact:"
BINARY: Final = "application/octet-stream"
_NAME: Final = re.compile(re.escape(SCHEME) + r"[0-9a-f]{32}")


def new_uri() -> str:
    """Mint the name of an artifact that is yet to be stored."""
    return SCHEME + uuid4().hex


def is_name(uri: str) -> bool:
    """Say whether this can be an artifact's name: a caller may write anything as one."""
    return _NAME.fullmatch(uri) is not None


class Weight:
    """What artifacts weigh that are read for one job. Safe for threads.

    Args:
        most: Bytes of all of them together; any number if None.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._bytes = 0

    def add(self, size: int) -> None:
        """Put another one on the scales, before it is read if that can be.

        Raises:
            TooLarge: They are too many bytes now.
        """
        with self._lock:
            self._bytes += size
            if self._most is not None and self._bytes > self._most:
                raise TooLarge(
                    f"the artifacts that the job names are more than {self._most} bytes together "
                    "(for files STOKER_FETCH_LIMIT says how many): send smaller ones, or fewer in "
                    "one job",
                    {"limit": self._most},
                )


class Artifacts(Protocol):
    """What whoever runs jobs does with artifacts, whatever keeps the bytes."""

    def put(
        self,
        data: bytes,
        *,
        uri: str | None = None,
        mime_type: str = BINARY,
        expires: int | None = None,
    ) -> str:
        """Keep bytes for a time.

        Args:
            data: The bytes.
            uri: A name from `new_uri`; a new one if absent. Storing a name again does nothing.
            mime_type: What they are, for those who read them by a URL.
            expires: Seconds; as long as the settings say if None.

        Returns:
            The name.

        Raises:
            TooLarge: The bytes are more than the store takes at once, or has room for.
            StorageUnavailable: The store does not answer, or refuses, or Redis has no memory left.
        """

    def get(self, uris: Sequence[str], most: int | None = None) -> Mapping[str, bytes]:
        """Read artifacts back; those that have expired or never were are absent.

        Args:
            uris: Their names.
            most: Bytes of all of them together; any number if None.

        Raises:
            TooLarge: They are more than that.
            StorageUnavailable: As for `Artifacts.put`.
        """


class ArtifactStore(Artifacts, Protocol):
    """What an artifact store does besides, for operators and for those who submit jobs."""

    def check(self) -> None:
        """Make sure that it can be used at all.

        Raises:
            ValueError: It is set up wrong, and no waiting will mend it.
        """

    def delete(self, uris: Sequence[str]) -> None:
        """Remove artifacts at once; those that are not there are no error.

        Raises:
            StorageUnavailable: As for `Artifacts.put`.
        """

    def presign(self, uri: str, seconds: int | None = None) -> str:
        """Make a URL under which anybody can read an artifact for a time.

        Args:
            uri: Its name.
            seconds: How long the URL is good, or until the artifact expires; as the settings say
                if None.

        Raises:
            Gone: The artifact has expired, or never was.
            NoUrl: It is kept where no URL leads to.
            StorageUnavailable: As for `Artifacts.put`.
        """


def fetch(store: Artifacts, uris: Sequence[str], most: int | None = None) -> Mapping[str, bytes]:
    """Read artifacts that must be there.

    Args:
        store: Where they are.
        uris: Their names.
        most: Bytes of all of them together; any number if None.

    Raises:
        InputFetchFailed: One has expired, or no artifact has its name.
        TooLarge: They are more than `most`.
        StorageUnavailable: The store does not answer.
    """
    found = store.get(uris, most)
    missing = [uri for uri in uris if uri not in found]
    if missing:
        raise InputFetchFailed(
            "an artifact of this job is not in the store: it has expired, or was never stored "
            "there; submit the job again with its bytes",
            {"uri": missing[0][:80], "missing": len(missing), "at": int(time.time())},
        )
    return found


def gone(uri: str) -> Gone:
    """Say that an artifact is not there."""
    return Gone("no artifact has this name: it has expired, or was deleted", {"uri": uri[:80]})
