"""A courier as a process of its own, as an operator starts it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.worker import ROOT, environment


@contextmanager
def courier(redis_url: str, folder: Path, **settings: object) -> Iterator[Path]:
    """Run a courier until the context ends.

    Args:
        redis_url: Its server.
        folder: Where its log goes.
        **settings: Stoker's settings.

    Yields:
        Its log.
    """
    log = folder / "courier.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stoker_workers", "webhooks"],
            cwd=ROOT,
            env=environment(redis_url, **{"allowed_networks": "127.0.0.1", **settings}),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(40)
        finally:
            process.kill()
    assert code == 0, log.read_text()
