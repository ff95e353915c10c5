"""The first stage: reads a job, finds its model and its files, and preprocesses it.

Bad input fails here, alone. A job whose model or files are not there yet comes back when they are,
and others pass it meanwhile.
"""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Protocol

from stoker_tasks.errors import Internal, InvalidInput, Poison, StokerError
from stoker_tasks.job import Job
from stoker_tasks.wire import read_job
from stoker_workers.engine.clocks import Clocks
from stoker_workers.engine.delivery import Delivery, Outlet, Work
from stoker_workers.engine.faults import log_fault
from stoker_workers.engine.line import Line
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.payloads import Payloads

logger = logging.getLogger(__name__)

# After so many workers have died of a job, it is not started again.
_DEATHS = 3


class Models(Protocol):
    """Where the engine gets warm models."""

    def key_of(self, job: Job) -> ModelKey:
        """Say which model serves a job; raises a `StokerError` if none may."""

    def get(self, key: ModelKey) -> "Future[WarmModel]":
        """Give a model, loading it first if it is not warm. Never blocks."""


class Preparing:
    """The first stage of a line.

    Args:
        line: The line.
        models: Where warm models come from.
        payloads: Reads inputs, and finds the answers of earlier jobs.
        outlet: Knows the time, and of which jobs workers died.
    """

    def __init__(self, line: Line, models: Models, payloads: Payloads, outlet: Outlet) -> None:
        self._line = line
        self._models = models
        self._inputs = payloads.inputs
        self._cached = payloads.cached
        self._retention = payloads.outputs.retention
        self._outlet = outlet

    def next(self) -> bool:
        """Take one job in; False at the end of the line."""
        work = self._line.inbox.get()
        if work is None or self._line.stopping.is_set():
            return False
        try:
            self._preprocess(work)
        except StokerError as error:
            self._line.fail(work, error)
        except RecursionError:
            self._line.fail(work, InvalidInput("the job nests too deep: no task takes that"))
        except Exception as error:  # noqa: BLE001 - the stage must outlive any job
            log_fault(logger, "preprocessing failed", error)
            self._line.fail(
                work, Internal(f"preprocessing failed: {type(error).__name__}: {error}")
            )
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
            work.keep = self._retention.checked(work.job.retention)
            self._inputs.check(work.job)
            work.key = self._models.key_of(work.job)
        assert work.key is not None
        try:
            loading = self._models.get(work.key)
            if not loading.done():
                # The job comes back here when its model is warm; others pass it meanwhile.
                loading.add_done_callback(lambda _: self._line.inbox.put(work))
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
            self._line.inbox.put(work)

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
                self._line.send_on(work)
                return
        work.set_prepared(work.model.preprocess(work.job, media))
        work.ready = time.monotonic()
        work.preprocess_s = work.ready - began
        self._line.wait(work)

    def _is_suspect(self, delivery: Delivery) -> bool:
        deaths = self._outlet.deaths(delivery)
        if deaths >= _DEATHS:
            raise Poison(
                f"{deaths} workers died while they ran this job; it is kept as a dead letter for "
                "an operator to look at",
                {"deaths": deaths},
            )
        return deaths > 0
