"""A Redis server with an append-only file that can be killed and comes back with its data."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Final, Self

import redis

from stoker.local.ports import free_port
from tests.support.redis_server import binary

_START_SECONDS: Final = 30.0


class Server:
    """A server on a loopback port of its own.

    Args:
        folder: Where its append-only file goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._back: threading.Timer | None = None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        """Connect to it; a command fails rather than waits while the server is away."""
        return redis.Redis(port=self.port, socket_timeout=10, retry=None)

    def start(self) -> None:
        """Start it, and wait until it has read its file and answers."""
        self._process = subprocess.Popen(
            [
                *(binary(), "--bind", "127.0.0.1", "--port", str(self.port), "--save", ""),
                *("--dir", str(self._folder), "--appendonly", "yes"),
                # A producer was told that its job is taken. With `everysec` a kill may lose what
                # was written within the last second, and a job lost so would be Redis's own loss.
                *("--appendfsync", "always"),
                # Every write that ever took effect stays readable: it is the harness's evidence.
                *("--auto-aof-rewrite-percentage", "0", "--aof-use-rdb-preamble", "no"),
            ],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
        deadline = time.monotonic() + _START_SECONDS
        with self.client() as client:
            while time.monotonic() < deadline:
                try:
                    client.ping()
                except redis.RedisError:
                    time.sleep(0.02)
                else:
                    return
        raise RuntimeError("the Redis server did not start")

    def kill(self, away: float) -> None:
        """Kill it, and have it start again.

        Args:
            away: Seconds between the two.
        """
        self._end()
        self._back = threading.Timer(away, self.start)
        self._back.start()

    def heal(self) -> None:
        """Wait until it is back."""
        if self._back is not None:
            self._back.join(2 * _START_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
