"""A worker as a process of its own, as an operator starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker import Client
from stoker_config.settings import Settings

ROOT = Path(__file__).parents[2]
START_SECONDS = 150.0
_OF_SENTINELS = {"master_name", "sentinel_kwargs"}


@dataclass
class Worker:
    """A running worker.

    Attributes:
        process: Its process.
        log: Where its log lines go.
        name: Its Celery node name.
    """

    process: "subprocess.Popen[bytes]"
    log: Path
    name: str

    def lines(self) -> str:
        """Give all log lines so far."""
        return self.log.read_text()

    def terminate(self, timeout: float = 30.0) -> int:
        """Send SIGTERM, wait for the end, and give the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


def environment(redis_url: str, **settings: object) -> dict[str, str]:
    """Give a child's environment with Stoker's settings, such as `pool="b"`."""
    own = {
        f"STOKER_{name.upper()}": json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in settings.items()
    }
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STOKER_")},
        "STOKER_REDIS_URL": redis_url,
        "PYTHONUNBUFFERED": "1",
        **own,
    }


@contextmanager
def worker(redis_url: str, folder: Path, **options: Any) -> Iterator[Worker]:
    """Run a worker until the context ends; it has announced itself when the context begins.

    Args:
        redis_url: Its server.
        folder: Where its log goes.
        **options: See `launched`.
    """
    with launched(redis_url, folder, **options) as running:
        named = {name: options[name] for name in options.keys() & _OF_SENTINELS}
        server = Settings.model_validate({"redis_url": redis_url, **named})
        _wait_until_announced(server, running)
        yield running


@contextmanager
def model_worker(
    redis_url: str, folder: Path, loaded: Mapping[str, str] | None = None, /, **options: Any
) -> Iterator[Worker]:
    """Run a worker that serves real models, on the CPU; see `worker`.

    Args:
        redis_url: Its server.
        folder: Where its log and its cache go.
        loaded: The models that it loads first, by task.
        **options: See `launched`.
    """
    if loaded:
        options["preload"] = ",".join(f"{task}={model}" for task, model in loaded.items())
    usual = {"app": "stoker_workers.app", "device": "cpu", "cache_dir": folder / "cache"}
    with worker(redis_url, folder, **usual | options) as running:
        yield running


@contextmanager
def launched(
    redis_url: str,
    folder: Path,
    *,
    app: str = "tests.doubles.worker_app",
    queues: str = "stoker",
    supervised: bool = False,
    name: str = "w1",
    **settings: object,
) -> Iterator[Worker]:
    """Start a worker, and kill it when the context ends.

    Args:
        redis_url: Its server.
        folder: Where its log goes.
        app: The module of its Celery app; by default the one that serves `FakeModel`.
        queues: What it reads.
        supervised: Have a supervisor start it, to read `stoker`; `process` is the supervisor then.
        name: Its node name, before the host's.
        **settings: Stoker's settings.
    """
    log = folder / f"{name}.log"
    node = f"{name}@test"
    command = ["-m", "celery", "-A", app, "worker", "-Q", queues, "-n", node, "-l", "info"]
    if supervised:
        command = ["-m", "tests.doubles.supervised", app, node]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment(redis_url, **settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Worker(process, log, node)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_announced(settings: Settings, running: Worker) -> None:
    with Client(settings=settings) as client:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if running.process.poll() is not None:
                raise AssertionError(f"the worker ended at once:\n{running.lines()[-4000:]}")
            if any(each.worker == running.name for each in client.workers()):
                return
            time.sleep(0.05)
    raise AssertionError(f"the worker did not announce itself:\n{running.lines()[-4000:]}")
