"""One worker for all tests of a transport, and the app that asks it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from celery import Celery

from tests.celery import tasks
from tests.support import redis_server
from tests.support.until import until
from tests.support.worker import ROOT

SECONDS = 90.0


@dataclass
class Judged:
    """A worker, and the app of a producer on the same transport.

    Attributes:
        app: The app of a producer.
        url: The server.
        server: A client of the server.
        name: The worker's node name.
        start: Starts another worker, with further arguments.
    """

    app: Celery
    url: str
    server: Any
    name: str
    start: Callable[..., Any]

    def s(self, task: str, *args: Any, **kwargs: Any) -> Any:
        """Give a signature of one of `tests.celery.tasks`."""
        return self.app.signature(f"{tasks.__name__}.{task}", args=args, kwargs=kwargs)

    def notes(self) -> list[str]:
        """List what tasks have noted since the last call."""
        with self.server.pipeline() as pipe:
            pipe.lrange("notes", 0, -1)
            pipe.delete("notes")
            return list(pipe.execute()[0])

    def let_go(self) -> None:
        """Let a `tests.celery.tasks.hold` end."""
        self.server.rpush("go", "go")

    def held(self, task_id: str) -> bool:
        """Tell whether a worker holds a task's message."""
        return any(task_id in each for each in self.server.hvals("unacked"))

    def ask(self, command: str, *args: Any) -> Any:
        """Have the worker do something, and wait for its answer."""
        method = getattr(self.app.control, command)
        return method(*args, reply=True, destination=[self.name], timeout=10, limit=1)

    @property
    def inspect(self) -> Any:
        """Ask the worker."""
        return self.app.control.inspect([self.name], timeout=10, limit=1)


@pytest.fixture(scope="session", params=["stoker", "stock"])
def judged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Judged]:
    folder = tmp_path_factory.mktemp(request.param)
    with redis_server.folder() as short, redis_server.running(short) as url:
        app = tasks.make_app(url, request.param)
        server = redis.Redis.from_url(url, decode_responses=True)

        @contextmanager
        def start(name: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
            node = f"{name}@judge"
            command = ["-m", "celery", "-A", "tests.celery.tasks", "worker", "-n", node]
            told = {"JUDGED_URL": url, "JUDGED_TRANSPORT": request.param}
            with (folder / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, *command, "-l", "info", "--without-mingle", *arguments],
                    cwd=ROOT,
                    env={**os.environ, **told, "PYTHONPATH": os.pathsep.join(sys.path)},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            try:
                until(lambda: bool(app.control.ping([node], timeout=1)), SECONDS)
                yield process
            finally:
                process.kill()
                process.wait()

        with start("main", "-P", "threads", "-c", "4"), server, app:
            yield Judged(app, url, server, "main@judge", start)
            # What a failed test holds on to would ask the server when it is gone.
            app.backend.result_consumer.stop()
            app.backend.result_consumer._pubsub = None


@pytest.fixture(autouse=True)
def _no_old_notes(request: pytest.FixtureRequest) -> None:
    if "judged" in request.fixturenames:
        request.getfixturevalue("judged").server.delete("notes", "go")
