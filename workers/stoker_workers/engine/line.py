"""What the stages of the line share: the queues between them, the rows that wait, who has begun."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final

from stoker_tasks.errors import StokerError
from stoker_workers.engine.batcher import Batcher
from stoker_workers.engine.delivery import Work
from stoker_workers.engine.faults import free_frames
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.window import Batch, Row

# How often one who waits for the last stage looks whether the line is stopping.
_LOOK_SECONDS: Final = 0.1

# What the last stage is sent: work, a mark that somebody waits for, or the end of the line.
Done = Work | threading.Event | None


@dataclass(frozen=True, slots=True)
class Line:
    """The places of one line where jobs are between two stages. Safe for threads.

    Attributes:
        batcher: The rows that wait for the device; only this class touches it.
        inbox: What the first stage is sent: work, or None for the end of the line.
        done: What the last stage is sent.
        begun: The jobs that are marked as running: of which a forward pass has begun, until they
            are sent on, and one that is watched while it is preprocessed.
        stopping: Set once no further batch may begin.
    """

    batcher: Batcher
    inbox: SimpleQueue[Work | None] = field(default_factory=SimpleQueue)
    done: SimpleQueue[Done] = field(default_factory=SimpleQueue)
    begun: dict[Work, None] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    _ready: threading.Condition = field(default_factory=threading.Condition, init=False)
    _passing: threading.Event = field(default_factory=threading.Event, init=False)
    _hushed: threading.Event = field(default_factory=threading.Event, init=False)

    def wait(self, work: Work) -> None:
        """Let a preprocessed job's rows wait for the device."""
        with self._ready:
            awaited = not len(self.batcher)
            self.batcher.add(work)
            if awaited:
                self._ready.notify_all()

    def next_batch(self) -> Batch | None:
        """Wait until there are rows, and take those of the next pass; None if it is stopping."""
        with self._ready:
            self._passing.clear()
            if not len(self.batcher):
                self._ready.notify_all()  # `hush` may wait for it
            while (not len(self.batcher) or self._hushed.is_set()) and not self.stopping.is_set():
                self._ready.wait()
            if self.stopping.is_set():
                return None
            self._passing.set()
            return self.batcher.form()

    def hush(self) -> bool:
        """Wait until no job waits, runs or is being stored, and let no batch begin from then on.

        For the first stage, which alone lets jobs wait for the device.

        Returns:
            Whether it is quiet; False if the line is stopping.
        """
        with self._ready:
            if self._hushed.is_set():
                return True
            while (len(self.batcher) or self._passing.is_set()) and not self.stopping.is_set():
                self._ready.wait()
            self._hushed.set()
        settled = self.settle()
        # Once the line is stopping, its last stage may have ended.
        while not settled.wait(_LOOK_SECONDS) and not self.stopping.is_set():
            pass
        return not self.stopping.is_set()

    def resume(self) -> None:
        """Let batches begin again."""
        with self._ready:
            self._hushed.clear()
            self._ready.notify_all()

    def settle(self) -> threading.Event:
        """Give what is set once all that has run by now is stored."""
        settled = threading.Event()
        self.done.put(settled)
        return settled

    def charge(self, rows: Sequence[Row], seconds: float) -> None:
        """Count a batch's device time."""
        with self._ready:
            self.batcher.charge(rows, seconds)

    def owe(self, model: ModelKey, seconds: float) -> None:
        """Note what a model's loading cost for which others had to go."""
        with self._ready:
            self.batcher.owe(model, seconds)

    def fail(self, work: Work, error: StokerError) -> None:
        """End a job with an error, unless it has one already."""
        if work.error is None:
            free_frames(error)
            work.error = error
            self.send_on(work)

    def send_on(self, work: Work) -> None:
        """Send a job to the last stage: no pass of it is to come."""
        self.begun.pop(work, None)
        self.done.put(work)

    def stop(self) -> None:
        """Have the first two stages end; a batch that runs is finished first."""
        with self._ready:
            self.stopping.set()
            self._ready.notify_all()
        self.inbox.put(None)
