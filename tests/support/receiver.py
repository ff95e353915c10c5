"""A real receiver of webhooks on this machine, which answers as a test tells it to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Posted:
    """One request.

    Attributes:
        path: Its path and query.
        headers: Its headers.
        body: Its body.
    """

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The event's ID."""
        return self.headers["webhook-id"]


@dataclass
class Reply:
    """An answer.

    Attributes:
        status: Its status.
        headers: Its headers.
    """

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)


# Gives the answer to a request; it may take its time.
Answer = Callable[[Posted], Reply]


@dataclass
class Receiver:
    """A running receiver.

    Attributes:
        url: Where events are posted to.
        got: All requests so far, in the order in which they came.
        answer: What it answers.
    """

    url: str
    got: list[Posted] = field(default_factory=list)
    answer: Answer = lambda _: Reply()

    def of(self, event_id: str) -> list[Posted]:
        """List the requests of one event."""
        return [each for each in list(self.got) if each.id == event_id]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Say nothing: the courier hangs up on who is too slow."""


@contextmanager
def receiver(answer: Answer | None = None) -> Iterator[Receiver]:
    """Run a receiver for as long as the context lasts.

    Args:
        answer: What it answers; 204 if absent.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            posted = Posted(self.path, headers, body)
            running.got.append(posted)
            reply = running.answer(posted)
            self.send_response(reply.status)
            for name, value in {"content-length": "0", **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        running = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
        if answer is not None:
            running.answer = answer
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
