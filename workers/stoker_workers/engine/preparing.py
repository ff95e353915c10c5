"""The first stage: reads a job, finds its model and its files, and preprocesses it.

Bad input fails here, alone. A job whose model or files are not there yet comes back when they are,
as does one that it takes long to preprocess, and others pass it meanwhile.
"""

import logging
import time
from concurrent.futures import Future
from itertools import count
from typing import Final, Protocol

from stoker_config.lapsed import POISON
from stoker_tasks.errors import Canceled, Internal, InvalidInput, Poison, StokerError
from stoker_tasks.job import Job
from stoker_tasks.wire import read_job
from stoker_workers.engine.clocks import Clocks
from stoker_workers.engine.delivery import Outlet, Work
from stoker_workers.engine.faults import log_fault
from stoker_workers.engine.gathering import Gathered, Gathering
from stoker_workers.engine.line import Line
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.payloads import Payloads
from stoker_workers.engine.stage import Lost
from stoker_workers.engine.watching import Watching

logger = logging.getLogger(__name__)

# Deaths beside a job after which it waits for no model any more. Those that new jobs want are
# loaded without a trial, and there may always be one that kills.
_LOADS: Final = 5

_NOTHING: Final = Gathered({})


class Models(Protocol):
    """Where the engine gets warm models."""

    def key_of(self, job: Job) -> ModelKey:
        """Say which model serves a job; raises a `StokerError` if none may."""

    def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
        """Give a model, loading it first if it is not warm. Never blocks.

        Args:
            key: What it is loaded by.
            wary: Whether its load may kill the process.
        """


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
        self._retention = payloads.outputs.retention
        self._outlet = outlet
        self._gathering = Gathering(models.get, payloads, outlet, line.inbox.put)
        self._watching = Watching(line, self._gathering, outlet)
        self._loads: set[Future[WarmModel]] = set()
        self._hand: Work | None = None
        self.inside = self._gathering.inside

    def next(self) -> bool:
        """Take one job in; False at the end of the line."""
        self._watching.rest()
        work = self._line.inbox.get()
        if work is None or self._line.stopping.is_set():
            return False
        self._hand = work
        try:
            # It may have gone back to the queue while it waited for its files or its model.
            if work.error is None:
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
        self._hand = None
        return True

    def stop(self) -> None:
        """Start nothing more."""
        self._gathering.stop()

    def join(self, timeout: float) -> bool:
        """Wait until nothing is preprocessed beside the line; False if that takes longer."""
        return self._gathering.join(timeout)

    def lost(self) -> Lost:
        """Say what was in hand when `next` was left by an exception."""
        work, self._hand = self._hand, None
        if work is None or work.error is not None:
            return Lost()
        self._gathering.let_go(work)
        return Lost([work], [work])

    def _preprocess(self, work: Work) -> None:
        if work.job is None and not self._read(work):
            return
        assert work.job is not None
        assert work.key is not None
        # The model that it held while its files were read is its own, though it may be leaving by
        # now: to ask for it anew would be to wait until this very job lets go of it.
        if work.model is None:
            # It may not be the job that kills, but the load of its model.
            loading = self._models.get(work.key, wary=work.watched)
            if not loading.done():
                self._loads.add(loading)
                loading.add_done_callback(self._loads.discard)
                self._come_back(work, loading)
                return
            if work.lets_load and self._come_back_after_loads(work):
                return
            work.model = loading.result()
        if work.fetching is not None:
            try:
                self._prepare(work, work.fetching.result())
            finally:
                self._gathering.let_go(work)
            return
        # It may have waited for its model.
        if late := work.late():
            raise late
        # Else it comes back here when all is there.
        if not self._gathering.prepare(work):
            self._prepare(work, _NOTHING)

    def _come_back(self, work: Work, loading: "Future[WarmModel]") -> None:
        """Have a job come back here when a model is loaded; others pass it meanwhile."""
        loading.add_done_callback(lambda _: self._line.inbox.put(work))

    def _come_back_after_loads(self, work: Work) -> bool:
        """Have a watched job come back when the models under way are loaded; False if none is.

        One that kills the process while it is loaded is no fault of this job's. It waits once:
        there may always be another.
        """
        work.lets_load = False
        under_way = [each for each in tuple(self._loads) if not each.done()]
        # What is loaded must not be held here: it may be wanted gone.
        left = count(len(under_way) - 1, -1)
        for each in under_way:
            each.add_done_callback(lambda _: None if next(left) else self._line.inbox.put(work))
        return bool(under_way)

    def _read(self, work: Work) -> bool:
        """Read a job; False if some of it has to be fetched first."""
        delivery = work.delivery
        if work.fetching is None:
            work.taken = self._outlet.now()
            if delivery.redelivered:
                self._suspect(work)
            if uris := self._inputs.beside(delivery.args, delivery.kwargs):
                self._gathering.read(work, uris)
                return False
            args, kwargs = delivery.args, delivery.kwargs
        else:
            try:
                found = work.fetching.result()
                args = [self._inputs.whole(each, found) for each in delivery.args]
                kwargs = self._inputs.claim(delivery.kwargs, found)
            finally:
                self._gathering.let_go(work)
        work.job = read_job(delivery.celery_task, args, kwargs)
        work.tenant = work.job.tenant or ""
        work.clocks = Clocks.of(work.job, delivery.submitted, self._outlet.now)
        if late := work.late():
            raise late
        work.keep = self._retention.checked(work.job.retention)
        self._inputs.check(work.job)
        work.key = self._models.key_of(work.job)
        return True

    def _prepare(self, work: Work, gathered: Gathered) -> None:
        assert work.job is not None
        assert work.model is not None
        began = time.monotonic()
        work.digest = gathered.digest
        if gathered.canceled:
            # First told: a job with an error counts as one that the outlet has heard of.
            self._outlet.dropped([work.delivery])
            work.error = Canceled("the job was canceled before it was preprocessed")
            return
        if gathered.answer is not None:
            work.set_answer(gathered.answer)
            self._line.send_on(work)
            return
        prepared = gathered.prepared
        if prepared is None and work.watched:
            prepared = self._watching.preprocess(work, gathered.files, self.inside)
            if prepared is None:
                return
        elif prepared is None:
            with self.inside:
                prepared = work.model.preprocess(work.job, gathered.files)
        work.set_prepared(prepared)
        work.ready = time.monotonic()
        work.preprocess_s = gathered.seconds or work.ready - began
        work.fetch_s -= gathered.seconds
        self._line.wait(work)

    def _suspect(self, work: Work) -> None:
        """Find out what a job that was delivered before is suspected of."""
        deaths = self._outlet.deaths(work.delivery)
        if deaths.caused is not None and deaths.caused >= POISON:
            raise Poison(
                f"{deaths.caused} workers died while they ran this job; it is kept as a dead "
                "letter for an operator to look at",
                {"deaths": deaths.caused},
            )
        work.alone = deaths.caused is not None
        work.watched = self._watching.is_called_for(deaths)
        work.lets_load = work.watched and deaths.beside < _LOADS
