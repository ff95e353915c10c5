"""What a worker process is doing now, where the harness can read it at the instant of a kill.

A few bytes of a file that both map into memory: writing them costs no call, and they survive the
writer. Runs are lines that are appended to a file: they outlive a kill of the worker and of Redis.
"""

import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# Where the files are, told to a worker by its environment.
MARKS: Final = "CHAOS_MARKS"
RUNS: Final = "CHAOS_RUNS"

READY: Final = 4
FORWARD: Final = 5
STORE: Final = 6
# Plain Celery only: a job whose countdown is over runs inside the event loop.
IN_LOOP: Final = 7
_SIZE: Final = 8


class Marks:
    """One worker's marks, from either side.

    Args:
        path: The file; it is made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(_SIZE)
            self._bytes = mmap.mmap(file.fileno(), _SIZE)

    def begin(self, pid: int) -> None:
        """Note a new process, which is not ready yet; 0 for none."""
        self._bytes[:_SIZE] = struct.pack("<I4x", pid)

    def put(self, mark: int, on: bool) -> None:
        """Set or clear a mark."""
        self._bytes[mark] = on

    def has(self, mark: int) -> bool:
        """Tell whether a mark is set."""
        return bool(self._bytes[mark])

    @property
    def pid(self) -> int:
        """The process that the marks are of; 0 if there is none."""
        pid: int = struct.unpack_from("<I", self._bytes)[0]
        return pid

    def phase(self) -> str:
        """Say what the process does: `store`, `forward` or `other`."""
        # A store goes on beside the next batch's forward pass; it is the rarer one.
        if self.has(STORE):
            return "store"
        return "forward" if self.has(FORWARD) else "other"


def own_marks() -> Marks:
    """Give the marks of this worker process."""
    marks = Marks(Path(os.environ[MARKS]))
    marks.begin(os.getpid())
    return marks


class Runs:
    """Where each start of a job is written down, by all workers."""

    def __init__(self) -> None:
        self._file = os.open(os.environ[RUNS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def add(self, job_ids: Iterable[str]) -> None:
        """Write down that these jobs are run now."""
        os.write(self._file, "".join(f"{job_id}\n" for job_id in job_ids).encode())
