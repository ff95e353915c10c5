"""Flower, Celery's own monitor, on a port of this machine alone."""

import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from stoker.local.errors import NotReady
from stoker.local.ports import HOST, free_port
from stoker.local.processes import Process
from stoker.local.stop import Pause
from stoker_config.settings import child_environment

_READY_SECONDS: Final = 60.0


class Flower:
    """A running Flower.

    Args:
        redis_url: The server whose jobs it shows.
        log: The file to which its output is appended.
        port: Its TCP port; a free one if None.

    Attributes:
        process: Its process.
        url: Where a browser finds it.
    """

    def __init__(self, redis_url: str, log: Path, *, port: int | None = None) -> None:
        self._port = port or free_port()
        self.url = f"http://{HOST}:{self._port}"
        self.process = Process(
            "Flower",
            [
                *(sys.executable, "-m", "celery", "-A", "stoker_config.app", "flower"),
                *(f"--address={HOST}", f"--port={self._port}"),
            ],
            environment=child_environment(redis_url=redis_url, result_url=""),
            log=log,
            grace=5.0,
        )

    def wait_until_ready(self, pause: Pause = time.sleep) -> None:
        """Wait until it answers.

        Args:
            pause: Sleeps between two looks.

        Raises:
            NotReady: It does not.
            ProcessDied: It has ended.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers():
            self.process.check()
            if time.monotonic() > deadline:
                raise NotReady(
                    f"Flower did not answer within {_READY_SECONDS:g} s; its last lines:\n"
                    f"{self.process.tail()}"
                )
            pause(0.1)

    def _answers(self) -> bool:
        # No proxy that the environment names may stand in between.
        connection = HTTPConnection(HOST, self._port, timeout=5)
        try:
            connection.request("GET", "/healthcheck")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
