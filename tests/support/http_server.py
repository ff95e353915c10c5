"""A web server of the test's own, on this machine alone."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class WebServer:
    """A running web server.

    Attributes:
        port: Its port.
        paths: What was asked of it, in order.
    """

    port: int
    paths: list[str] = field(default_factory=list)


@contextmanager
def serving(
    answer: Answer,
    address: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> Iterator[WebServer]:
    """Run a web server until the context ends.

    Args:
        answer: Answers each request, whatever its method.
        address: Where it listens.
        tls: Its certificate, if it speaks TLS.
        port: Where it listens; any that is free if 0.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.paths.append(self.path)
            answer(self)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            # A client that hangs up in the middle is what some tests are about.
            pass

    with Server((address, port), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        running = WebServer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()


def give(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Answer a request; `content_type="…"` is the header Content-Type."""
    request.send_response(status)
    for name, value in {"content_length": str(len(body)), **headers}.items():
        request.send_header(name.replace("_", "-").title(), value)
    request.end_headers()
    request.wfile.write(body)
