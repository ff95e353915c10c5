"""A system under test: a process that is started, warmed up, given texts, and ended."""

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import ROOT
from benchmarks.server import Server
from stoker.local.errors import NotReady
from stoker.local.processes import Process
from stoker_config.settings import child_environment

READY_SECONDS: Final = 180.0
# What every service is told: one thread for the model, whatever library it is under.
ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONUNBUFFERED": "1",
}
WARM_UP: Final = "The first texts pay for what all later ones find ready."


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one text.

    Attributes:
        output: The answer; None if there is none.
        done: When it was stored or received, in seconds since the epoch; 0 if it never was.
        error: Whether it failed.
        timing: Where Stoker's time went, in milliseconds; empty for others.
    """

    output: Any = None
    done: float = 0.0
    error: bool = False
    timing: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all services and suites need.

    Attributes:
        server: The Redis server.
        folder: Where services write their logs.
        cache: Where models and environments are kept.
        patience: Seconds without a new answer after which the missing ones count as lost.
    """

    server: Server
    folder: Path
    cache: Path
    patience: float = 20.0


class Service(ABC):
    """One system at one setting.

    Args:
        bench: Where it runs.
        name: What the table calls it.
        setting: How it is set up, in words.
    """

    durable = True

    def __init__(self, bench: Bench, name: str, setting: str) -> None:
        self.bench, self.name, self.setting = bench, name, setting

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Give the program and its arguments."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Give what it is told beyond this process's environment."""

    @abstractmethod
    def answer(self, texts: Sequence[str]) -> list[Answer]:
        """Hand over texts all at once, and wait for all answers; they are in the texts' order."""

    def start(self) -> Process:
        """Start it; it may not be ready yet."""
        return Process(
            f"{self.name} ({self.setting})",
            self.command(),
            environment={**clean_environment(), **ONE_THREAD, **self.environment()},
            log=self.bench.folder / f"{self.name.replace(' ', '-')}.log",
            grace=15.0,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it from when it has answered a few texts until the context ends."""
        process = self.start()
        try:
            self._warm_up(process)
            yield
        finally:
            process.stop()

    def _warm_up(self, process: Process) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            process.check()
            if time.monotonic() > deadline:
                raise NotReady(f"{process.name} did not answer; its last lines:\n{process.tail()}")
            time.sleep(0.1)
        self.answer([WARM_UP] * 8)

    @abstractmethod
    def is_ready(self) -> bool:
        """Look whether it answers."""

    def idle(self) -> float | None:
        """Give the seconds since the last call in which its device had work and did none.

        None if it does not say.
        """
        return None


class Queued(Service):
    """A system that takes messages from Redis and stores results there.

    Attributes:
        batch: For how many messages it waits before it runs any.
    """

    batch = 1
    _asked: str | None = None

    @abstractmethod
    def fill(self, texts: Sequence[str]) -> list[str]:
        """Put a job for each text on the queue; gives their IDs."""

    @abstractmethod
    def read(self, meta: dict[str, Any]) -> Answer:
        """Read a successful result as Celery stored it, but for its time."""

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        """Queue texts and wait for the results."""
        ids = self.fill(texts)
        self.bench.server.wait(ids, self.bench.patience)
        return self.collect(ids)

    def collect(self, ids: Sequence[str]) -> list[Answer]:
        """Read the results of jobs; those without one are lost."""
        return [self._read(stored) for stored in self.bench.server.results(ids)]

    def is_ready(self) -> bool:
        """Look for the result of a job that was queued when this was first asked."""
        if self._asked is None:
            [self._asked] = self.fill([WARM_UP])
        return bool(self.bench.server.results([self._asked])[0])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it on an empty server."""
        self.bench.server.clear()
        self._asked = None
        with super().running():
            yield

    def _read(self, stored: bytes | None) -> Answer:
        if stored is None:
            return Answer()
        meta = json.loads(stored)
        done = datetime.fromisoformat(meta["date_done"]).timestamp() if meta["date_done"] else 0.0
        if meta["status"] != "SUCCESS":
            return Answer(done=done, error=True)
        read = self.read(meta)
        return Answer(read.output, done, timing=read.timing)


def clean_environment() -> dict[str, str]:
    """Give this process's environment without settings of Stoker's but the cache's place."""
    kept = child_environment()
    return {
        name: value
        for name, value in kept.items()
        if not name.startswith("STOKER_") or name == "STOKER_CACHE_DIR"
    }


def python() -> str:
    """Give the interpreter in which the bench and Stoker run."""
    return sys.executable


def module(interpreter: str | Path, name: str, *arguments: str) -> list[str]:
    """Give the command that runs a module; the bench runs at the root, where modules are found."""
    return [str(interpreter), "-m", name, *arguments]


def at_root() -> dict[str, str]:
    """Let a foreign environment's processes find the peers, and nothing of Stoker."""
    return {"PYTHONPATH": str(ROOT)}
