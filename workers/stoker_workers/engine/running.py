"""The second stage: owns the device, and runs batches of those jobs that are still wanted."""

import logging
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

from stoker_tasks.errors import Canceled, Internal, StokerError
from stoker_workers.engine.delivery import Outlet, Work
from stoker_workers.engine.faults import log_fault
from stoker_workers.engine.forward import DeviceFault, Pass, run
from stoker_workers.engine.line import Line
from stoker_workers.engine.meter import Meter
from stoker_workers.engine.model import Follow, ModelKey
from stoker_workers.engine.stage import Lost
from stoker_workers.engine.window import Batch, Row

logger = logging.getLogger(__name__)

# How often a pass of many steps looks whether one of its jobs was canceled.
_LOOK_SECONDS = 0.5


class Running:
    """The second stage of a line.

    Args:
        line: The line.
        outlet: Knows who is waited for, and is told who has started.
        meter: Counts what the device does.
        overflowed: Is told of a batch of so many padded tokens that did not fit into memory.
        follow: Says who follows the texts of rows while they grow.

    Attributes:
        busy_since: When the batch that runs now began, in monotonic seconds; None if none runs.
    """

    def __init__(
        self,
        line: Line,
        outlet: Outlet,
        meter: Meter,
        overflowed: Callable[[ModelKey, int], None],
        follow: Callable[[Sequence[Row]], Sequence[Follow | None]] = lambda _: (),
    ) -> None:
        self._line = line
        self._outlet = outlet
        self._meter = meter
        self._overflowed = overflowed
        self._follow = follow
        self.busy_since: float | None = None
        self._looked = 0.0
        self._hand: list[Work] = []

    def next(self) -> bool:
        """Run one batch; False at the end of the line, or of the device."""
        batch = self._line.next_batch()
        if batch is None:
            return False
        rows = batch.rows
        self._hand = _works(rows)
        try:
            if rows[0].work.alone:
                # It may take this process down with it.
                self._line.settle().wait()
            rows = self._still_wanted(rows)
            if rows:
                self._forward(batch, rows)
            else:
                self._meter.waited(batch.since, time.monotonic())
        except DeviceFault as error:
            # The stage ends here; `trouble` tells, and whoever watches ends the process.
            log_fault(logger, "the device is lost", error)
            return False
        except Exception as error:  # noqa: BLE001 - the stage must outlive any batch
            log_fault(logger, "a batch failed", error)
            self._meter.waited(batch.since, time.monotonic())
            for work in _works(rows):
                # One that a first half of the batch completed is on its way already.
                if work.missing:
                    self._line.fail(
                        work, Internal(f"a batch failed: {type(error).__name__}: {error}")
                    )
        self._hand = []
        return True

    def lost(self) -> Lost:
        """Say what was in hand when `next` was left by an exception."""
        works, self._hand = self._hand, []
        # One that a first half of the batch completed is on its way already.
        left = [work for work in works if work.missing and work.error is None]
        return Lost(left, left)

    def _still_wanted(self, rows: list[Row]) -> list[Row]:
        """Leave out rows of jobs that have failed, are too late, or that nobody waits for."""
        self._end_late(_works(rows))
        rows = [row for row in rows if row.work.error is None]
        fresh = [work for work in _works(rows) if not work.started]
        abandoned = self._outlet.abandoned([work.delivery for work in fresh])
        if not abandoned:
            return rows
        self._outlet.dropped(abandoned)
        gone = set(map(id, abandoned))
        for work in fresh:
            if id(work.delivery) in gone:
                # Rows of it that wait for a later batch must not run either.
                work.error = Canceled("the job was dropped before it was started")
        return [row for row in rows if row.work.error is None]

    def _forward(self, batch: Batch, rows: list[Row]) -> None:
        works = _works(rows)
        model = works[0].model
        assert model is not None
        fresh = [work for work in works if not work.started]
        now = time.monotonic()
        for work in fresh:
            work.started = now
            self._line.begun[work] = None
        self._outlet.started([work.delivery for work in fresh])
        name = uuid4().hex[:12]
        for work in works:
            work.batch, work.batch_size, work.release_reason = name, len(works), batch.reason
        self.busy_since = self._looked = began = time.monotonic()
        self._meter.waited(batch.since, began)
        try:
            for each in run(model, rows, self._ended, self._too_large, self._follow):
                self._keep(each)
        finally:
            self.busy_since = None
            done = time.monotonic()
            self._meter.ended(batch, rows, began, done)
        self._line.charge(rows, done - began)

    def _too_large(self, rows: Sequence[Row]) -> None:
        key = rows[0].work.key
        assert key is not None
        self._overflowed(key, len(rows) * max(row.chunk.length for row in rows))

    def _ended(self, rows: Sequence[Row]) -> list[bool]:
        """Say between two steps of a pass which of its rows need not go on."""
        try:
            works = [work for work in _works(rows) if work.error is None]
            self._end_late(works)
            now = time.monotonic()
            if now - self._looked >= _LOOK_SECONDS:
                self._looked = now
                self._end_canceled([work for work in works if work.error is None])
        except Exception as error:  # noqa: BLE001 - it is tested again before results are stored
            log_fault(logger, "could not look who is canceled", error)
        return [row.work.error is not None for row in rows]

    def _end_late(self, works: Sequence[Work]) -> None:
        for work in works:
            if work.error is None and (late := work.late()):
                self._line.fail(work, late)

    def _end_canceled(self, works: Sequence[Work]) -> None:
        gone = {each.id for each in self._outlet.canceled([work.delivery for work in works])}
        canceled = [work for work in works if work.delivery.id in gone]
        # First told: a job with an error counts as one that the outlet has heard of.
        self._outlet.dropped([work.delivery for work in canceled])
        for work in canceled:
            work.error = Canceled("the job was canceled while it ran")
            self._line.begun.pop(work, None)

    def _keep(self, each: Pass) -> None:
        """Give a pass's outputs to their jobs, and send on the jobs that it completes."""
        width = max(row.chunk.length for row in each.rows)
        now = time.monotonic()
        for work in _works(each.rows):
            work.forward_s += each.seconds
            work.forwards += 1
            work.forwarded = now
        for row, output in zip(each.rows, each.outputs, strict=True):
            work = row.work
            work.padded_tokens += width
            if work.error is not None:
                continue
            if isinstance(output, StokerError):
                self._line.fail(work, output)
                continue
            work.outputs[row.position] = output
            work.missing -= 1
            if not work.missing:
                self._line.send_on(work)


def _works(rows: Sequence[Row]) -> list[Work]:
    return list(dict.fromkeys(row.work for row in rows))
