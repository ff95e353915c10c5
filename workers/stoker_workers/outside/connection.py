"""HTTP to hosts that callers have named: each address is checked, and the one checked is used.

The check stands where the connection is made, between asking for a name's addresses and connecting
to one of them: a name that has another address a moment later (DNS rebinding) gains nothing.
Redirects are answers like others here; whoever follows one sends a new request, which is checked as
well.
"""

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final

import httpcore2
import httpx2

from stoker_workers.outside.addresses import Guard, Refused, Unresolved

# How long one step may take, such as waiting for the first byte.
_PAUSE_SECONDS: Final = 10.0
_PAUSES: Final = dict.fromkeys(("connect", "read", "write", "pool"), _PAUSE_SECONDS)
# Bytes that are written between two looks at the clock.
_PIECE: Final = 16_384


class Outside:
    """Sends requests to hosts that callers have named. It may be used from several threads.

    No proxy, no cookie and no password of the environment is used, and nothing is logged.

    Args:
        guard: Tells which addresses may be connected to.
        tls: How certificates are checked; by the system's authorities, or those that SSL_CERT_FILE
            names, if absent.
    """

    def __init__(self, guard: Guard, tls: ssl.SSLContext | None = None) -> None:
        self._guard = guard
        self._given_tls = tls

    @contextmanager
    def send(self, request: httpx2.Request, seconds: float) -> Iterator[httpx2.Response]:
        """Send a request over a connection of its own, and give its answer while it is read.

        Args:
            request: The request; its URL's scheme is `http` or `https`.
            seconds: How long all of it may take, until the last byte is read: not only the pauses
                between two bytes. Asking for the host's addresses may take as long as the
                system's resolver does.

        Yields:
            The answer, of which only the head is read: `iter_raw` reads the body. A redirect is
            not followed.

        Raises:
            Refused: The host is none to which a worker is sent, or the scheme is another one.
            Unresolved: The host has no address.
            httpx2.TransportError: It could not be reached, or broke off; a `TimeoutException` of
                it if it took too long. Reading the body may raise these as well.
        """
        if request.url.scheme not in {"http", "https"}:
            raise Refused("the URL's scheme is neither http nor https")
        backend = _CheckedBackend(self._guard, time.monotonic() + seconds)
        with (
            _as_httpx(),
            httpcore2.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
            pool.stream(
                request.method,
                httpcore2.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.read(),
                extensions={"timeout": _PAUSES},
            ) as answer,
        ):
            assert isinstance(answer.stream, Iterable)
            yield httpx2.Response(
                answer.status,
                headers=answer.headers,
                stream=_Body(answer.stream),
                extensions=answer.extensions,
                request=request,
            )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or httpx2.create_ssl_context()


class _Body(httpx2.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._stream


class _CheckedBackend(httpcore2.NetworkBackend):
    """Connects to addresses that the guard has checked, until a deadline."""

    def __init__(self, guard: Guard, deadline: float) -> None:
        self._guard = guard
        self._deadline = deadline
        self._system = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first of a host's addresses that takes the connection."""
        failure: httpcore2.ConnectError | httpcore2.ConnectTimeout | None = None
        for address in self._guard.addresses(host, port):
            try:
                left = _left(self._deadline, timeout, httpcore2.ConnectTimeout)
                stream = self._system.connect_tcp(
                    str(address), port, left, local_address, socket_options
                )
                return _TimedStream(stream, self._deadline)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or Unresolved(f"the host {host[:200]} has no address")


class _TimedStream(httpcore2.NetworkStream):
    """A connection that ends at a deadline, however busily the other side sends."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _left(self._deadline, timeout, httpcore2.ReadTimeout)
        return self._stream.read(max_bytes, left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            left = _left(self._deadline, timeout, httpcore2.WriteTimeout)
            self._stream.write(buffer[start : start + _PIECE], left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = _left(self._deadline, timeout, httpcore2.ConnectTimeout)
        secured = self._stream.start_tls(ssl_context, server_hostname, left)
        return _TimedStream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, timeout: float | None, late: type[Exception]) -> float:
    """Give the seconds that one step may take; raises `late` when there are none left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise late("out of time")
    return left if timeout is None else min(left, timeout)


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Raise an error of the connection under its name in httpx, where all have one root."""
    try:
        yield
    except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
        kind = getattr(httpx2, type(error).__name__, httpx2.TransportError)
        raise kind(str(error)) from error
