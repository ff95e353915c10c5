"""The line that a job passes: preprocess → wait → forward → postprocess → outlet.

Three threads, one for each stage, so that tokenising, the forward pass and storing overlap. Bad
input fails in the first stage, alone; the second owns the device; the third hands outcomes on in
bunches, as large as have gathered.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Protocol
from uuid import uuid4

from stoker_tasks.errors import Canceled, Internal, InvalidInput, Poison, StokerError
from stoker_tasks.job import Job
from stoker_tasks.result import Success
from stoker_tasks.wire import read_job
from stoker_workers.engine.batcher import Batcher
from stoker_workers.engine.clocks import Clocks
from stoker_workers.engine.delivery import Delivery, Outcome, Outlet, Work
from stoker_workers.engine.faults import log_fault
from stoker_workers.engine.forward import DeviceFault, Pass, run
from stoker_workers.engine.meter import Meter
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.outputs import Placed
from stoker_workers.engine.payloads import Payloads
from stoker_workers.engine.window import Batch, Budget, Row

logger = logging.getLogger(__name__)

# After so many workers have died of a job, it is not started again.
_DEATHS = 3
# How often a pass of many steps looks whether one of its jobs was canceled.
_LOOK_SECONDS = 0.5

# What the last stage is sent: work, a mark that somebody waits for, or the end of the line.
_Done = Work | threading.Event | None

# What becomes of an output: where it belongs now or in time, or why there is none.
_Placing = Placed | Future[Placed] | StokerError


class Models(Protocol):
    """Where the engine gets warm models."""

    def key_of(self, job: Job) -> ModelKey:
        """Say which model serves a job; raises a `StokerError` if none may."""

    def get(self, key: ModelKey) -> "Future[WarmModel]":
        """Give a model, loading it first if it is not warm. Never blocks."""


class Flow:
    """The engine of one device.

    Args:
        models: Where warm models come from.
        payloads: Reads inputs, and puts outputs where they belong.
        outlet: Where outcomes go.
        budget_of: Says how large a batch of a model may grow.
        overflowed: Is told of a batch of so many padded tokens that did not fit into memory.

    Attributes:
        meter: What the device has done.
    """

    def __init__(
        self,
        models: Models,
        payloads: Payloads,
        outlet: Outlet,
        budget_of: Callable[[ModelKey], Budget],
        overflowed: Callable[[ModelKey, int], None] = lambda _model, _tokens: None,
    ) -> None:
        self._models = models
        self._inputs = payloads.inputs
        self._outputs = payloads.outputs
        self._cached = payloads.cached
        self._outlet = outlet
        self._inbox: SimpleQueue[Work | None] = SimpleQueue()
        self._batcher = Batcher(budget_of)
        self._overflowed = overflowed
        self.meter = Meter()
        self._ready = threading.Condition()
        self._done: SimpleQueue[_Done] = SimpleQueue()
        self._stopping = False
        self._busy_since: float | None = None
        self._looked = 0.0
        self._begun: dict[Work, None] = {}
        self._threads = [
            threading.Thread(target=self._loop, args=(stage,), name=f"stoker-{name}", daemon=True)
            for name, stage in (
                ("preprocess", self._preprocess_next),
                ("forward", self._forward_next),
                ("postprocess", self._postprocess_next),
            )
        ]

    def start(self) -> None:
        """Start the three stages."""
        for thread in self._threads:
            thread.start()

    def accept(self, delivery: Delivery) -> None:
        """Take a delivery in. Never blocks; whatever comes of it is told to the outlet."""
        self._inbox.put(Work(delivery))

    def refuse(self, delivery: Delivery, error: StokerError) -> None:
        """End a delivery with an error. Never blocks."""
        self._fail(Work(delivery), error)

    def stop(self, timeout: float, settle: float = 30.0) -> bool:
        """Finish the running batch and what it completes; leave everything else unstarted.

        Args:
            timeout: Seconds for all of it.
            settle: Seconds of these for storing what the batch completed: the server may be away.

        Returns:
            Whether all stages ended in time. Deliveries of which the outlet was not told
            anything are to be given back to the queue.
        """
        preprocess, forward, postprocess = self._threads
        deadline = time.monotonic() + timeout
        with self._ready:
            self._stopping = True
            self._ready.notify_all()
        self._inbox.put(None)
        self._inputs.stop()
        forward.join(timeout)
        # Only when no batch can complete any more jobs may the last stage end.
        self._done.put(None)
        postprocess.join(min(settle, max(0.0, deadline - time.monotonic())))
        preprocess.join(min(settle, max(0.0, deadline - time.monotonic())))
        return not any(thread.is_alive() for thread in self._threads)

    def interrupted(self) -> list[Delivery]:
        """List the jobs that were begun and are not finished: after `stop`, rows of them wait."""
        return [work.delivery for work in list(self._begun)]

    def trouble(self, hang_seconds: float) -> str | None:
        """Say why this engine does no work any more; None if it does.

        Args:
            hang_seconds: How long a batch may take before the device counts as hung.
        """
        since = self._busy_since
        if since is not None and time.monotonic() - since > hang_seconds:
            return f"a batch has run for more than {hang_seconds:.0f} s"
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        if dead and not self._stopping:
            return f"{', '.join(dead)} ended"
        return None

    def _loop(self, stage: Callable[[], bool]) -> None:
        while stage():
            pass

    # -- first stage -------------------------------------------------------------------------

    def _preprocess_next(self) -> bool:
        work = self._inbox.get()
        if work is None or self._stopping:
            return False
        try:
            self._preprocess(work)
        except StokerError as error:
            self._fail(work, error)
        except RecursionError:
            self._fail(work, InvalidInput("the job nests too deep: no task takes that"))
        except Exception as error:  # noqa: BLE001 - the stage must outlive any job
            log_fault(logger, "preprocessing failed", error)
            self._fail(work, Internal(f"preprocessing failed: {type(error).__name__}: {error}"))
        return True

    def _preprocess(self, work: Work) -> None:
        if work.job is None:
            work.taken = self._outlet.now()
            delivery = work.delivery
            if delivery.redelivered:
                work.alone = self._is_suspect(delivery)
            kwargs = self._inputs.claim(delivery.kwargs)
            args = [self._inputs.whole(each) for each in delivery.args]
            work.job = read_job(delivery.celery_task, args, kwargs)
            work.clocks = Clocks.of(work.job, delivery.submitted, work.taken)
            if late := work.late():
                raise late
            work.keep = self._outputs.retention.checked(work.job.retention)
            self._inputs.check(work.job)
            work.key = self._models.key_of(work.job)
        assert work.key is not None
        try:
            loading = self._models.get(work.key)
            if not loading.done():
                # The job comes back here when its model is warm; others pass it meanwhile.
                loading.add_done_callback(lambda _: self._inbox.put(work))
                return
            work.model = loading.result()
        except BaseException:
            # It was warm when the files were asked for, and has been given up since.
            self._let_go(work)
            raise
        if work.fetching is not None:
            try:
                self._prepare(work, work.fetching.result())
            finally:
                self._let_go(work)
        elif (fetching := self._inputs.fetch(work.job)) is not None:
            self._await(work, fetching)
        else:
            self._prepare(work, {})

    def _await(self, work: Work, fetching: "Future[Mapping[str, bytes]]") -> None:
        """Have a job come back here when its files are there; others pass it meanwhile."""
        began = time.monotonic()

        def back(_: object) -> None:
            work.fetch_s = time.monotonic() - began
            self._inbox.put(work)

        work.fetching = fetching
        fetching.add_done_callback(back)

    def _let_go(self, work: Work) -> None:
        if work.fetching is not None:
            work.fetching = None
            self._inputs.release()

    def _prepare(self, work: Work, fetched: Mapping[str, bytes]) -> None:
        assert work.job is not None
        assert work.key is not None
        assert work.model is not None
        began = time.monotonic()
        media = {**self._inputs.media(work.job), **fetched}
        if work.job.cache:
            work.digest = self._cached.digest(work.job, work.key, work.model.name, media)
            if answer := self._cached.find(work.digest):
                work.set_answer(answer)
                self._send_on(work)
                return
        work.set_prepared(work.model.preprocess(work.job, media))
        work.ready = time.monotonic()
        work.preprocess_s = work.ready - began
        with self._ready:
            self._batcher.add(work)
            self._ready.notify_all()

    def _is_suspect(self, delivery: Delivery) -> bool:
        deaths = self._outlet.deaths(delivery)
        if deaths >= _DEATHS:
            raise Poison(
                f"{deaths} workers died while they ran this job; it is kept as a dead letter for "
                "an operator to look at",
                {"deaths": deaths},
            )
        return deaths > 0

    # -- second stage ------------------------------------------------------------------------

    def _forward_next(self) -> bool:
        with self._ready:
            while not len(self._batcher) and not self._stopping:
                self._ready.wait()
            if self._stopping:
                return False
            batch = self._batcher.form()
        assert batch is not None
        rows = batch.rows
        try:
            if rows[0].work.alone:
                self._settle()
            rows = self._still_wanted(rows)
            if rows:
                self._forward(batch, rows)
        except DeviceFault as error:
            # The stage ends here; `trouble` tells, and whoever watches ends the process.
            log_fault(logger, "the device is lost", error)
            return False
        except Exception as error:  # noqa: BLE001 - the stage must outlive any batch
            log_fault(logger, "a batch failed", error)
            for work in _works(rows):
                # One that a first half of the batch completed is on its way already.
                if work.missing:
                    self._fail(work, Internal(f"a batch failed: {type(error).__name__}: {error}"))
        return True

    def _settle(self) -> None:
        """Wait until all that has run is stored: a suspect may take this process down with it."""
        settled = threading.Event()
        self._done.put(settled)
        settled.wait()

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
            self._begun[work] = None
        self._outlet.started([work.delivery for work in fresh])
        name = uuid4().hex[:12]
        for work in works:
            work.batch, work.batch_size, work.release_reason = name, len(works), batch.reason
        self._busy_since = self._looked = began = time.monotonic()
        self.meter.began(rows, began)
        try:
            for each in run(model, rows, self._ended, self._too_large):
                self._keep(each)
        finally:
            self._busy_since = None
        done = time.monotonic()
        self.meter.ended(batch, rows, began, done)
        with self._ready:
            self._batcher.charge(rows, done - began)

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
                self._fail(work, late)

    def _end_canceled(self, works: Sequence[Work]) -> None:
        gone = {each.id for each in self._outlet.canceled([work.delivery for work in works])}
        canceled = [work for work in works if work.delivery.id in gone]
        for work in canceled:
            work.error = Canceled("the job was canceled while it ran")
            self._begun.pop(work, None)
        self._outlet.dropped([work.delivery for work in canceled])

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
                self._fail(work, output)
                continue
            work.outputs[row.position] = output
            work.missing -= 1
            if not work.missing:
                self._send_on(work)

    # -- third stage -------------------------------------------------------------------------

    def _postprocess_next(self) -> bool:
        bunch, end = _gather(self._done)
        # All of them are on their way to the store before one is waited for, and those that need no
        # store do not wait for it.
        placing = [(work, self._postprocess(work)) for work in bunch]
        self._finish([each for each in placing if not isinstance(each[1], Future)])
        self._finish([each for each in placing if isinstance(each[1], Future)])
        if isinstance(end, threading.Event):
            end.set()
        return end is not None

    def _finish(self, placing: Sequence[tuple[Work, _Placing]]) -> None:
        if not placing:
            return
        outcomes = [(work.delivery, self._outcome(work, placed)) for work, placed in placing]
        try:
            self._outlet.finished(outcomes)
        except Exception as error:  # noqa: BLE001 - unacknowledged, so it is delivered again
            log_fault(logger, "outcomes could not be stored; they are delivered again", error)

    def _postprocess(self, work: Work) -> _Placing:
        """Make a job's output, and begin to put it where it belongs."""
        if work.error is not None:
            return work.error
        assert work.job is not None
        assert work.model is not None
        try:
            output = work.answer
            if output is None:
                assert work.prepared is not None
                output = work.model.postprocess(work.job, work.prepared, work.outputs)
            return self._outputs.place(output, work.keep)
        except Exception as error:  # noqa: BLE001 - a job's own postprocessing fails alone
            return _postprocessing_failed(error)

    def _outcome(self, work: Work, placed: _Placing) -> Outcome:
        """Make a job's result, once its output is where it belongs."""
        if isinstance(placed, StokerError):
            return placed
        assert work.job is not None
        assert work.model is not None
        try:
            output = placed.result() if isinstance(placed, Future) else placed
            if work.digest is not None and work.answer is None:
                self._cached.note(work.digest, work.delivery.id)
        except Exception as error:  # noqa: BLE001 - as above
            return _postprocessing_failed(error)
        return work.late() or Success(
            output=output.value,
            artifacts=list(output.artifacts),
            task=work.job.task,
            model=work.model.name,
            timing=work.timing(),
            metadata=work.job.metadata,
            cached=work.answer is not None,
        )

    def _fail(self, work: Work, error: StokerError) -> None:
        if work.error is None:
            work.error = error
            self._send_on(work)

    def _send_on(self, work: Work) -> None:
        self._begun.pop(work, None)
        self._done.put(work)


def _postprocessing_failed(error: Exception) -> StokerError:
    if isinstance(error, StokerError):
        return error
    log_fault(logger, "postprocessing failed", error)
    return Internal(f"postprocessing failed: {type(error).__name__}: {error}")


def _works(rows: Sequence[Row]) -> list[Work]:
    return list(dict.fromkeys(row.work for row in rows))


def _gather(queue: SimpleQueue[_Done]) -> tuple[list[Work], threading.Event | bool | None]:
    """Wait for one piece of work and take what has gathered behind it.

    Returns:
        The work, and what came after it: a mark that somebody waits for, None for the end of the
        line, or True if there was nothing more.
    """
    bunch: list[Work] = []
    item = queue.get()
    while isinstance(item, Work):
        bunch.append(item)
        if queue.empty():
            return bunch, True
        item = queue.get()
    return bunch, item
