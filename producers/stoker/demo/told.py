"""The demo's last job: its end is told by a signed webhook to a receiver that the demo runs."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from typing import Any, Final, Self

from stoker.client import Client
from stoker.demo.producer import question_job
from stoker.demo.questions import QUESTIONS
from stoker.local.errors import NotReady
from stoker.local.stop import Pause
from stoker.webhooks import VerificationError, verify
from stoker_tasks.signature import new_secret
from stoker_tasks.webhook import Webhook

HOST: Final = "127.0.0.1"
_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05


class Receiver:
    """A receiver of webhooks on this machine; a context manager that ends it.

    Attributes:
        secret: What its events have to be signed with.
        url: Where they are posted to.
    """

    def __init__(self) -> None:
        self.secret = new_secret()
        self._events: SimpleQueue[dict[str, Any]] = SimpleQueue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(204 if receiver._take(body, dict(self.headers)) else 400)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing between the lines of the demo."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_port}/told"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def event(self, pause: Pause) -> dict[str, Any]:
        """Wait for an event whose signature is right.

        Args:
            pause: Sleeps between two looks.

        Raises:
            NotReady: None came.
        """
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            try:
                return self._events.get_nowait()
            except Empty:
                pause(_LOOK_SECONDS)
        raise NotReady(f"no signed webhook came within {_SECONDS:g} s")

    def _take(self, body: bytes, headers: dict[str, str]) -> bool:
        try:
            self._events.put(verify(body, headers, self.secret))
        except VerificationError:
            return False
        return True


def tell(client: Client, model: str, receiver: Receiver, pause: Pause) -> str:
    """Run one job with a webhook, and say what the receiver was told.

    Args:
        client: A producer.
        model: The embedding model.
        receiver: The receiver.
        pause: Sleeps between two looks.
    """
    job = question_job(QUESTIONS[0], model)
    handle = client.submit(job.model_copy(update={"webhook": Webhook(url=receiver.url)}))
    event = receiver.event(pause)
    data = event["data"]
    numbers = len(data["result"]["output"])
    return (
        f"A signed webhook told a receiver of {event['type']}: job {data['id']} "
        f"{data['state']}, with its {numbers} numbers; it is job {handle.id} that was submitted."
    )
