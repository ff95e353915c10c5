"""Posts to hosts that callers have named: many at once, over connections that are kept for a while.

As in `connection`, the address that was checked is the one that is connected to; a connection that
is kept leads to an address that was checked when it was made. This is for an event loop with a
thousand posts under way, most of which wait for a host that does not answer.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import h11
import httpx2

from stoker_workers.outside.addresses import Address, Guard, Refused, Unresolved
from stoker_workers.outside.exchange import Broken, Exchange
from stoker_workers.outside.lookups import Lookups

# Connections that no post waits for: for how long each is kept, and how many of them.
_IDLE_SECONDS: Final = 15.0
MOST_IDLE: Final = 128
# After so long a connection is not used again, so that a name's new address is followed.
_OLDEST_SECONDS: Final = 300.0
# For how long one of a host's addresses is tried while there is another one to be tried.
_ADDRESS_SECONDS: Final = 3.0


@dataclass(frozen=True)
class _Place:
    """Where a connection leads to."""

    scheme: str
    host: str
    port: int


class Poster:
    """Posts to hosts that callers have named; of one event loop.

    No proxy, no cookie and no password of the environment is used, no redirect is followed, and
    nothing is logged.

    Args:
        guard: Tells which addresses may be connected to.
        tls: How certificates are checked; by the system's authorities, or those that SSL_CERT_FILE
            names, if absent.
    """

    def __init__(self, guard: Guard, tls: ssl.SSLContext | None = None) -> None:
        self._given_tls = tls
        self._lookups = Lookups(guard)
        # All that are open, with where each leads to and since when; and those that are free.
        self._open: dict[Exchange, tuple[_Place, float]] = {}
        self._free: dict[_Place, dict[Exchange, None]] = {}
        self._asking = 0

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, seconds: float
    ) -> h11.Response:
        """Post a body, and give the head of its answer.

        What was sent over a kept connection that turns out to be closed is sent again over a new
        one: the receiver may have had it.

        Args:
            url: `http://` or `https://`.
            headers: What is sent beside `host` and `content-length`.
            body: The body.
            seconds: How long all of it may take.

        Raises:
            Refused: The host is none to which a worker is sent, or the scheme is another one.
            Unresolved: The host has no address.
            httpx2.InvalidURL: This is no URL.
            TimeoutError: It took too long; `Unasked` if that was not the host's doing.
            OSError: The host could not be reached, or broke off; an `ssl.SSLError` of it if no
                secure connection came about.
        """
        target = httpx2.URL(url)
        if target.scheme not in {"http", "https"}:
            raise Refused("the URL's scheme is neither http nor https")
        host, tls = target.raw_host.decode("ascii"), target.scheme == "https"
        place = _Place(target.scheme, host, target.port or (443 if tls else 80))
        head = {
            "host": target.netloc.decode("ascii"),
            "content-length": str(len(body)),
            **headers,
        }
        request = h11.Request(method="POST", target=target.raw_path, headers=list(head.items()))
        deadline = asyncio.get_running_loop().time() + seconds
        kept = self._kept(place)
        if kept is not None:
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._ask(kept, request, body)
            except Broken as error:
                if not error.silent:
                    raise
        addresses = await self._lookups.addresses(host, place.port, deadline)
        async with asyncio.timeout_at(deadline):
            made = await self._connect(place, addresses, deadline)
            return await self._ask(made, request, body)

    async def close(self) -> None:
        """Close all connections."""
        for each in list(self._open):
            each.close()
        self._lookups.close()
        # The transports tell of it in the loop's next round.
        await asyncio.sleep(0)

    async def _ask(self, exchange: Exchange, request: h11.Request, body: bytes) -> h11.Response:
        self._asking += 1
        try:
            head = await exchange.ask(request, body)
        finally:
            self._asking -= 1
        # Those count as well whose bodies are still coming, however slowly. This one may have been
        # free for a moment, in which another post took it.
        if not exchange.asked and len(self._open) - self._asking > MOST_IDLE:
            exchange.close()
        return head

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = self._given_tls or httpx2.create_ssl_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def _connect(
        self, place: _Place, addresses: Sequence[Address], deadline: float
    ) -> Exchange:
        """Connect to the first of a host's addresses that takes the connection in its time."""
        failure: OSError | None = None
        for at, address in enumerate(addresses, 1):
            left = deadline - asyncio.get_running_loop().time()
            seconds = min(_ADDRESS_SECONDS, left / len(addresses))
            try:
                async with asyncio.timeout(seconds if at < len(addresses) else None):
                    return await self._connect_to(address, place)
            except OSError as error:
                failure = error
        raise failure or Unresolved(f"the host {place.host[:200]} has no address")

    async def _connect_to(self, address: Address, place: _Place) -> Exchange:
        loop = asyncio.get_running_loop()
        secure = place.scheme == "https"
        _, made = await loop.create_connection(
            lambda: Exchange(self._is_free, self._is_gone),
            sock=await _connected(address, place.port),
            ssl=self._tls if secure else None,
            server_hostname=place.host if secure else None,
        )
        if not made.closed:
            self._open[made] = place, loop.time()
        return made

    def _kept(self, place: _Place) -> Exchange | None:
        """Take a free connection to a place, the one that was used last."""
        free = self._free.get(place)
        if not free:
            return None
        found, _ = free.popitem()
        self._tidy(place)
        return found

    def _is_free(self, exchange: Exchange) -> None:
        place, since = self._open[exchange]
        if asyncio.get_running_loop().time() - since > _OLDEST_SECONDS:
            exchange.close()
            return
        self._free.setdefault(place, {})[exchange] = None
        exchange.close_in(_IDLE_SECONDS)

    def _is_gone(self, exchange: Exchange) -> None:
        place, _ = self._open.pop(exchange, (None, 0.0))
        if place is not None and exchange in self._free.get(place, ()):
            del self._free[place][exchange]
            self._tidy(place)

    def _tidy(self, place: _Place) -> None:
        if not self._free[place]:
            del self._free[place]


async def _connected(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (str(address), port))
    except BaseException:
        made.close()
        raise
    return made
