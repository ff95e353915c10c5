"""The workers: started, struck, and started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

import psutil

from benchmarks.chaos.plan import Place, Plan
from benchmarks.chaos.workers.marks import MARKS, READY, RUNS, Marks
from tests.support.worker import ROOT, environment

_CLOCK: Final = ROOT / "benchmarks/chaos/workers/clock"
# What an orchestrator gives a worker between SIGTERM and SIGKILL.
_GRACE: Final = 40.0


class Slot:
    """One worker's place, in which processes follow each other.

    Args:
        place: Where it is.
        plan: The run.
        url: The server's URL as this place sees it.
        folder: Where its log, its marks and the list of runs are.
    """

    def __init__(self, place: Place, plan: Plan, url: str, folder: Path) -> None:
        self.place = place
        self._plan = plan
        self._url = url
        self._folder = folder
        self._marks_file = folder / f"{place.name}.marks"
        self._log = folder / f"{place.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._told_at: float | None = None
        self._retired = False
        self._worker_id = ""
        self.marks = Marks(self._marks_file)
        self.late_ends = 0

    @property
    def settled(self) -> bool:
        """Whether a worker takes jobs here, or none is to any more."""
        return self.ready or (
            self._retired and self._process is not None and self._process.poll() is not None
        )

    @property
    def ready(self) -> bool:
        """Whether a worker process takes jobs here."""
        return self._told_at is None and self.marks.has(READY) and self.marks.pid != 0

    def start(self) -> None:
        """Start a worker, or its supervisor."""
        self._told_at = None
        self.marks.begin(0)
        node = f"{self.place.name}@chaos"
        settings = dict(self._plan.settings)
        command = ["-m", "celery", "-A", self._plan.app, "worker", "-Q", "stoker", "-n", node]
        command += ["-l", "info", "--without-gossip", "--without-mingle"]
        if self.place.supervised:
            command = ["-m", "benchmarks.chaos.workers.supervised", self._plan.app, node]
        else:
            settings["worker_id"] = self._worker_id = uuid4().hex[:12]
        paths = [str(_CLOCK)] if self.place.skew else []
        paths += [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env={
                    **environment(self._url, **settings),
                    MARKS: str(self._marks_file),
                    RUNS: str(self._folder / "runs"),
                    "CHAOS_SKEW": str(self.place.skew),
                    "PYTHONPATH": os.pathsep.join(paths),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def worker_id(self) -> str:
        """Give what the tags of the worker process begin with."""
        if not self.place.supervised:
            return self._worker_id
        with suppress(psutil.Error):
            return psutil.Process(self.marks.pid).environ().get("STOKER_WORKER_ID", "")
        return ""

    def signal(self, number: int) -> bool:
        """Send the worker process, not its supervisor, a signal; tells whether it was there."""
        pid = self.marks.pid
        try:
            # Not a process of somebody else's that has got its number.
            if self._process is None or not self._is_ours(pid):
                return False
            os.kill(pid, number)
        except (ProcessLookupError, psutil.Error):
            return False
        return True

    def killed(self) -> None:
        """Note that the worker process is dead; a supervisor's next one marks itself anew."""
        self.marks.begin(0)
        if not self.place.supervised and self._process is not None:
            self._process.wait()

    def terminate(self) -> None:
        """Ask the worker, or its supervisor, to end."""
        if self._process is not None and self._process.poll() is None:
            self._told_at = time.monotonic()
            self._process.terminate()

    def retire(self) -> None:
        """Ask the worker to end, and start none any more."""
        self._retired = True
        self.terminate()

    def tend(self) -> None:
        """Start what has ended, and end what was told to end and does not."""
        assert self._process is not None
        if self._process.poll() is not None:
            if not self._retired:
                self.start()
        elif self._told_at is not None and time.monotonic() - self._told_at > _GRACE:
            self.late_ends += 1
            self.end()

    def end(self) -> None:
        """Kill whatever runs here; a supervisor's worker dies with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait(self, seconds: float) -> None:
        """Wait for the end of what was told to end, and kill it if it takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.late_ends += 1
            self.end()

    def _is_ours(self, pid: int) -> bool:
        assert self._process is not None
        if pid == 0:
            return False
        return pid == self._process.pid or psutil.Process(pid).ppid() == self._process.pid


class Fleet:
    """All workers of a run.

    Args:
        plan: The run.
        near: The server's URL.
        far: Its URL by way of the proxy.
        folder: Where logs and marks go.
        places: Where they run; as the plan says if absent.
    """

    def __init__(
        self,
        plan: Plan,
        near: str,
        far: str,
        folder: Path,
        places: Sequence[Place] | None = None,
    ) -> None:
        self.slots = [
            Slot(place, plan, far if place.by_proxy else near, folder)
            for place in places or plan.places
        ]

    def start(self, seconds: float = 90.0) -> None:
        """Start all, and wait until they take jobs.

        Raises:
            RuntimeError: One does not in time.
        """
        for slot in self.slots:
            slot.start()
        deadline = time.monotonic() + seconds
        while not all(slot.ready for slot in self.slots):
            if time.monotonic() > deadline:
                raise RuntimeError("a worker did not start: see its log")
            time.sleep(0.05)

    def tend(self) -> None:
        """Start again what has ended."""
        for slot in self.slots:
            slot.tend()

    def retire_late(self) -> None:
        """End the workers whose clocks are slow: a countdown lasts as much longer with them."""
        for slot in self.slots:
            if slot.place.skew < 0:
                slot.retire()

    def stop(self) -> None:
        """End all in order."""
        for slot in self.slots:
            slot.terminate()
        for slot in self.slots:
            slot.wait(_GRACE)

    @property
    def late_ends(self) -> int:
        """How many did not end within the grace time after SIGTERM."""
        return sum(slot.late_ends for slot in self.slots)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for slot in self.slots:
            # A stopped process does not die of its supervisor's death before it is killed itself.
            slot.signal(signal.SIGKILL)
            slot.end()
