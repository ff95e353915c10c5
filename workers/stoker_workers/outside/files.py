"""Fetches the files that callers name by URL: whole, in time, up to a size, and never a web page.

A URL may be signed, and with that a key to its file: of it, at most the host is told to anybody.
"""

import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import httpx2

from stoker_tasks.errors import InputFetchFailed, TooLarge
from stoker_workers.outside.addresses import Refused, Unresolved
from stoker_workers.outside.connection import Outside

S3: Final = "s3://"

_REDIRECTS: Final = 5
_REDIRECT: Final = frozenset({301, 302, 303, 307, 308})
_WHOLE: Final = frozenset({200, 203})
# What a server asks for that may be asked again: a pause, or another moment.
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "stoker"}
# Tries of what may have been a moment's trouble, and the seconds between two.
_TRIES: Final = 3
_PAUSE_SECONDS: Final = 0.3


class Buckets(Protocol):
    """Reads objects that callers name as `s3://BUCKET/KEY`."""

    def read(self, url: str, room: "Room") -> bytes:
        """Read an object into the room that is left."""


class Room:
    """What is left for one job's files: bytes, and seconds.

    Args:
        limit: Bytes.
        seconds: Seconds, from now on.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._bytes = limit
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def seconds(self) -> float:
        """Give the seconds that are left.

        Raises:
            InputFetchFailed: There are none.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self.late()
        return left

    def gather(self, pieces: Iterable[bytes], declared: int | None) -> bytes:
        """Put a file together, piece by piece.

        Args:
            pieces: Its bytes, as they come.
            declared: How many there will be, by the one who sends them; not relied on.

        Raises:
            TooLarge: There are more than there is room for.
            InputFetchFailed: They take too long.
        """
        if declared is not None and declared > self._bytes:
            raise self._full()
        data = bytearray()
        for piece in pieces:
            data += piece
            if len(data) > self._bytes:
                raise self._full()
            self.seconds()
        self._bytes -= len(data)
        return bytes(data)

    def late(self) -> InputFetchFailed:
        """Say that the time is up."""
        return InputFetchFailed(
            f"the job's files could not be fetched within {self._seconds:g} s "
            "(STOKER_FETCH_TIMEOUT): try again, or send the bytes with the job",
            {"limit": self._seconds, "retryable": True},
        )

    def _full(self) -> TooLarge:
        return TooLarge(
            f"the files that the job names by URL are more than {self._limit} bytes together "
            "(STOKER_FETCH_LIMIT): send smaller ones, or fewer in one job",
            {"limit": self._limit},
        )


class Files:
    """Fetches files by URL. It may be used from several threads.

    Args:
        outside: The way to hosts that callers have named.
        buckets: The way to objects in S3.
        limit: Bytes of all files of one job together.
        seconds: Seconds for all files of one job together.
    """

    def __init__(self, outside: Outside, buckets: Buckets, *, limit: int, seconds: float) -> None:
        self._outside = outside
        self._buckets = buckets
        self._limit = limit
        self._seconds = seconds

    def fetch(self, urls: Sequence[str]) -> Mapping[str, bytes]:
        """Fetch one job's files, one after the other.

        Args:
            urls: `https://`, `http://` or `s3://`.

        Returns:
            The files' bytes, by URL.

        Raises:
            InputFetchFailed: One could not be had; `details["retryable"]` tells whether it may
                be had later.
            TooLarge: They are too large together.
            StorageUnavailable: S3 does not answer, or not as it should.
        """
        room = Room(self._limit, self._seconds)
        return {url: self._fetch(url, room) for url in dict.fromkeys(urls)}

    def _fetch(self, url: str, room: Room) -> bytes:
        if url.startswith(S3):
            return self._buckets.read(url, room)
        for _ in range(_TRIES - 1):
            try:
                return self._get(url, room)
            except InputFetchFailed as error:
                if not error.retryable:
                    raise
            time.sleep(min(_PAUSE_SECONDS, room.seconds()))
        return self._get(url, room)

    def _get(self, url: str, room: Room) -> bytes:
        host = "a host"
        try:
            target = httpx2.URL(url)
            for _ in range(_REDIRECTS + 1):
                host = target.host
                request = httpx2.Request("GET", target, headers=_HEADERS)
                with self._outside.send(request, room.seconds()) as answer:
                    if answer.status_code not in _REDIRECT:
                        return _body(answer, host, room)
                    target = _next(target, answer, host)
        except Refused as error:
            raise InputFetchFailed(str(error)) from None
        except Unresolved as error:
            raise InputFetchFailed(f"{error}; look at the URL", {"retryable": True}) from None
        except (httpx2.InvalidURL, UnicodeError):
            raise InputFetchFailed(f"a URL of {host} cannot be read: send another one") from None
        except httpx2.TimeoutException:
            # Whichever clock it was: the room's, or that of one silence.
            room.seconds()
            raise _passing(f"{host} does not answer") from None
        except httpx2.TransportError as error:
            if _is_tls(error):
                raise InputFetchFailed(
                    f"no secure connection to {host} could be made: its certificate is not valid "
                    "for this name, or from no authority that the worker knows (SSL_CERT_FILE)"
                ) from None
            raise _passing(f"the connection to {host} failed") from None
        raise InputFetchFailed(
            f"{host} redirects more than {_REDIRECTS} times: give the URL of the file itself"
        )


def _next(before: httpx2.URL, answer: httpx2.Response, host: str) -> httpx2.URL:
    """Give the URL to which a redirect leads; it is checked when it is connected to."""
    location = answer.headers.get("location")
    if not location:
        raise InputFetchFailed(f"{host} answered {answer.status_code} without saying where to")
    after = before.join(location)
    if before.scheme == "https" and after.scheme != "https":
        raise InputFetchFailed(
            f"{host} redirects from https to {after.scheme[:20]}: give the URL of the file itself"
        )
    return after


def _body(answer: httpx2.Response, host: str, room: Room) -> bytes:
    """Read an answer that has to be a file."""
    status = answer.status_code
    if status in _PASSING:
        raise _passing(f"{host} answered {status}", status)
    if status not in _WHOLE:
        hint = "; a signed URL may have expired" if status in {400, 401, 403} else ""
        raise InputFetchFailed(
            f"{host} answered {status} and not with the file{hint}: look at the URL, or send the "
            "bytes with the job",
            {"status": status},
        )
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _PAGES:
        raise InputFetchFailed(
            f"{host} answered with a web page ({kind}) and not with a file: give the URL of the "
            "file itself",
            {"content_type": kind},
        )
    coding = answer.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise InputFetchFailed(
            f"{host} sends the file compressed ({coding[:20]}) although that was not asked for: "
            "send the bytes with the job"
        )
    declared = answer.headers.get("content-length", "")
    return room.gather(answer.iter_raw(), int(declared) if declared.isdecimal() else None)


def _passing(what: str, status: int | None = None) -> InputFetchFailed:
    details = {"retryable": True} if status is None else {"retryable": True, "status": status}
    return InputFetchFailed(f"{what}: try again, or send the bytes with the job", details)


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
