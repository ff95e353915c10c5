"""One HTTP/1.1 connection of an event loop: a request goes out, its answer's head comes, and again.

The grammar of HTTP is h11's. Of an answer's body nothing is kept; a short one is read to its end,
so that the connection can take the next request.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import h11

# Of the head of an answer, and of a body that is read to have the connection free again.
_HEAD_BYTES: Final = 100 * 1024
_BODY_BYTES: Final = 16 * 1024
_BODY_SECONDS: Final = 1.0


class Broken(ConnectionError):
    """A connection ended without an answer, or what came was no HTTP.

    Attributes:
        silent: Whether nothing at all had come.
    """

    def __init__(self, why: str, *, silent: bool) -> None:
        super().__init__(why)
        self.silent = silent


class Exchange(asyncio.Protocol):
    """A connection. It belongs to one event loop, and has one request at a time.

    Args:
        free: Called when it can take another request.
        gone: Called when it is closed, by whichever side.
    """

    def __init__(
        self, free: Callable[["Exchange"], None], gone: Callable[["Exchange"], None]
    ) -> None:
        self._free = free
        self._gone = gone
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[h11.Response] | None = None
        self._timer: asyncio.TimerHandle | None = None
        # Nothing is asked for, and nothing is yet to come of what was.
        self._idle = True
        self._silent = True
        self._body = 0

    @property
    def closed(self) -> bool:
        """Whether it is closed, or was never open."""
        return self._transport is None

    @property
    def asked(self) -> bool:
        """Whether a request waits for its answer."""
        return self._answer is not None

    async def ask(self, request: h11.Request, body: bytes) -> h11.Response:
        """Send a request, and give the head of its answer.

        The connection is closed if this is given up, unless it has taken another request since.

        Raises:
            Broken: No answer came, and none will.
        """
        if self._transport is None:
            raise Broken("it was closed before", silent=True)
        self._stop_clock()
        self._idle, self._silent, self._body = False, True, 0
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        self._transport.write(b"".join(self._http.send(each) or b"" for each in events))
        answer: asyncio.Future[h11.Response] = asyncio.get_running_loop().create_future()
        self._answer = answer
        try:
            return await answer
        except asyncio.CancelledError:
            if self._answer is answer:
                self.close()
            raise
        finally:
            # By now it may have taken another request.
            if self._answer is answer:
                self._answer = None

    def close(self) -> None:
        """Close it, without a word to the other side; safe to repeat."""
        self._stop_clock()
        if self._transport is not None:
            self._transport.abort()

    def close_in(self, seconds: float) -> None:
        """Close it after a time unless it takes a request before."""
        self._stop_clock()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.close)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read what has come, unless nothing was asked for."""
        if self._idle:
            self.close()
            return
        self._silent = False
        try:
            self._http.receive_data(data)
            self._read()
        except h11.RemoteProtocolError:
            self._fail("what came is no HTTP")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for an answer that none will come."""
        self._transport = None
        self._stop_clock()
        self._fail(type(exc).__name__ if exc else "it was closed by the other side")
        self._gone(self)

    def _read(self) -> None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(event)
                self.close_in(_BODY_SECONDS)
            elif isinstance(event, h11.Data):
                self._body += len(event.data)
                if self._body > _BODY_BYTES:
                    self.close()
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._ended()
                return
            elif not isinstance(event, h11.InformationalResponse):
                return  # more has to come, or nothing will

    def _ended(self) -> None:
        if {self._http.our_state, self._http.their_state} == {h11.DONE}:
            self._http.start_next_cycle()
            self._idle = True
            # What has come already is no answer to a request that is yet to be sent.
            if not self._http.trailing_data[0]:
                self._free(self)
                return
        self.close()

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Broken(why, silent=self._silent))

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
