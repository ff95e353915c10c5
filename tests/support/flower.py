"""A real Flower, as an operator starts it."""

import base64
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from stoker.local.ports import free_port
from tests.support.until import until
from tests.support.worker import ROOT, environment

USER: Final = "operator:password"


class Flower:
    """A running Flower.

    Args:
        port: Its port on this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def page(self, path: str, *, user: str = USER) -> tuple[int, str]:
        """Fetch a page; gives its status and its text."""
        # No proxy that the environment names may stand in between.
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            token = base64.b64encode(user.encode()).decode()
            connection.request("GET", path, headers={"Authorization": f"Basic {token}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def shown(self, path: str) -> str:
        """Fetch a page as soon as it is there; gives its text."""
        found: list[str] = []

        def there() -> bool:
            with suppress(OSError):
                status, text = self.page(path)
                found.append(text)
                return status == 200
            return False

        until(there)
        return found[-1]

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Give all tasks that it knows, by ID."""
        status, text = self.page("/api/tasks")
        assert status == 200, text
        found: dict[str, dict[str, Any]] = json.loads(text)
        return found

    def answers(self) -> bool:
        """Say whether it is up."""
        try:
            return self.page("/healthcheck")[0] == 200
        except OSError:
            return False


@contextmanager
def flower(redis_url: str, folder: Path) -> Iterator[Flower]:
    """Run Flower until the context ends; it answers when the context begins."""
    port = free_port()
    with (folder / "flower.log").open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "stoker_config.app", "flower"),
                *("--address=127.0.0.1", f"--port={port}", f"--basic-auth={USER}"),
            ],
            cwd=ROOT,
            env=environment(redis_url),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        running = Flower(port)
        until(running.answers, 60)
        yield running
    finally:
        process.kill()
        process.wait()
