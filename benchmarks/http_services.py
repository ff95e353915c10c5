"""LitServe, mosec and Ray Serve as systems under test: in memory, over HTTP, not durable."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.environments import LITSERVE, MOSEC, RAY_SERVE, Environment
from benchmarks.peers.model import NOOP
from benchmarks.services import WARM_UP, Answer, Bench, Service, at_root, module
from stoker.local.ports import free_port

# So many requests are under way at once: more than any batch, fewer than a server refuses.
_CONNECTIONS: Final = 128
_REQUEST_SECONDS: Final = 600.0
NOT_DURABLE: Final = "in-memory HTTP, not durable"


@dataclass(frozen=True, kw_only=True)
class Framework:
    """A server framework.

    Attributes:
        name: What the table calls it.
        environment: What it needs.
        peer: The module of its service.
        route: Where it takes requests.
        arguments: Further arguments; `{port}` stands for the port.
    """

    name: str
    environment: Environment
    peer: str
    route: str
    arguments: tuple[str, ...] = ()


FRAMEWORKS: Final = (
    Framework(name="LitServe", environment=LITSERVE, peer="litserve", route="/predict"),
    Framework(
        name="mosec",
        environment=MOSEC,
        peer="mosec",
        route="/inference",
        # Its defaults give a request three seconds, in which a backlog does not pass.
        arguments=(
            *("--address", "127.0.0.1", "--port", "{port}"),
            *("--timeout", "600000", "--capacity", "4096"),
        ),
    ),
    Framework(name="Ray Serve", environment=RAY_SERVE, peer="ray_serve", route="/"),
)


class HttpService(Service):
    """A server of a framework.

    Args:
        bench: Where it runs.
        framework: Which one.
        interpreter: Its environment's Python.
        model: The embedding model's folder; None for the model that does nothing.
        batch: The most texts of one batch.
        wait: Seconds for which a batch is waited for.
        label: What the table calls the setting, before its numbers.
    """

    durable = False

    def __init__(
        self,
        bench: Bench,
        framework: Framework,
        interpreter: Path,
        model: str | None,
        *,
        batch: float,
        wait: float,
        label: str = "",
    ) -> None:
        words = f"batch {batch:g}, wait {wait:g} s"
        super().__init__(bench, framework.name, f"{label}: {words}" if label else words)
        self._framework, self._interpreter, self._model = framework, interpreter, model
        self._batch, self._wait = batch, wait
        self._port = free_port()

    def command(self) -> Sequence[str]:
        """Start its service."""
        arguments = [each.format(port=self._port) for each in self._framework.arguments]
        peer = f"benchmarks.peers.{self._framework.peer}"
        return module(self._interpreter, peer, *arguments)

    def environment(self) -> dict[str, str]:
        """Tell it port, model and numbers."""
        return {
            **at_root(),
            "BENCH_PORT": str(self._port),
            "BENCH_MODEL": self._model or NOOP,
            "BENCH_BATCH": f"{self._batch:g}",
            "BENCH_WAIT": f"{self._wait:g}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "NO_PROXY": "127.0.0.1",
        }

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        """Send a request for each text, many at once over connections that are kept."""
        own = threading.local()

        def ask(text: str) -> Answer:
            if not hasattr(own, "connection"):
                own.connection = http.client.HTTPConnection(
                    "127.0.0.1", self._port, timeout=_REQUEST_SECONDS
                )
            return self._ask(own.connection, text)

        with ThreadPoolExecutor(min(_CONNECTIONS, len(texts))) as pool:
            return list(pool.map(ask, texts))

    def is_ready(self) -> bool:
        """Ask for one answer."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1):
                pass
        except OSError:
            return False
        [answer] = self.answer([WARM_UP])
        return answer.output is not None

    def _ask(self, connection: Any, text: str) -> Answer:
        body = json.dumps({"text": text})
        headers = {"Content-Type": "application/json"}
        try:
            connection.request("POST", self._framework.route, body, headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return Answer(done=time.time(), error=True)
        if response.status != http.HTTPStatus.OK:
            return Answer(done=time.time(), error=True)
        return Answer(json.loads(data)["output"], time.time())
