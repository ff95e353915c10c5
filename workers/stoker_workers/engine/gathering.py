"""Gets beside the line what jobs are prepared from: their files, and whatever takes long to read.

A page that is read letter by letter, or a film that is decoded, takes many seconds. Such jobs are
preprocessed here, a few at a time, so that no other waits for them.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from stoker_workers.engine.delivery import Outlet, Work
from stoker_workers.engine.faults import log_fault
from stoker_workers.engine.fetching import Errand, Fetching
from stoker_workers.engine.inputs import STORE
from stoker_workers.engine.inside import Inside
from stoker_workers.engine.model import ModelKey, Output, Prepared, WarmModel
from stoker_workers.engine.payloads import Payloads

logger = logging.getLogger(__name__)

# For how many jobs the artifact store may be read at once: half of all errands.
_OF_STORE: Final = 8
# How many slow jobs are fetched for and preprocessed at once: the frames of a film are large, and
# the stages need processors as well.
_SLOW: Final = 2


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a job needs beside its message.

    Attributes:
        files: The bytes that it only names, by artifact or URL.
        digest: By what its answer is cached; None if it is not to be.
        answer: The answer of an earlier job, if there is one.
        prepared: The job as it was preprocessed here, if it was.
        seconds: How long that took.
        canceled: Whether nobody waits for the job any more.
    """

    files: Mapping[str, bytes]
    digest: str | None = None
    answer: Output | None = None
    prepared: Prepared | None = None
    seconds: float = 0.0
    canceled: bool = False


class Gathering:
    """Two handfuls of threads: one that fetches, and one for slow jobs.

    Args:
        model_of: Gives a model, loading it first if it is not warm.
        payloads: Reads inputs, and finds the answers of earlier jobs.
        outlet: Knows which jobs were canceled.
        back: Takes a job whose errand is done; what came of it is in its `fetching`. If it has
            none, the job has to ask for its model anew.

    Attributes:
        inside: Lasts while a slow job is preprocessed.
    """

    def __init__(
        self,
        model_of: "Callable[[ModelKey], Future[WarmModel]]",
        payloads: Payloads,
        outlet: Outlet,
        back: Callable[[Work], None],
    ) -> None:
        self._model_of = model_of
        self._inputs = payloads.inputs
        self._cached = payloads.cached
        self._outlet = outlet
        self._back = back
        self.inside = Inside()
        self._fetching = Fetching(wide={STORE: _OF_STORE})
        # One at a time of each host: it may be slow.
        self._slow = Fetching("slow", threads=_SLOW, a_place=1, wide={STORE: _SLOW})
        # The slow jobs that wait for their turn or have it, the oldest first, and since when.
        self._queue: dict[Work, float] = {}

    def read(self, work: Work, uris: Sequence[str]) -> None:
        """Read what is beside a job's message."""
        self._begin(work, Errand(STORE, partial(self._inputs.read, uris)), self._fetching)

    def prepare(self, work: Work) -> bool:
        """Get what a job is prepared from; False if it is all in its message, and quickly read."""
        assert work.job is not None
        assert work.model is not None
        place = self._inputs.place(work.job)
        # One that is watched is preprocessed in the line, where nothing is beside it.
        work.slow = not work.watched and work.model.is_slow(work.job)
        if place is None and not work.job.cache and not work.slow:
            return False
        fetching = self._slow if work.slow else self._fetching
        self._begin(work, Errand(place or STORE, partial(self._gather, work)), fetching)
        if work.slow:
            self._queue[work] = time.monotonic()
        return True

    def let_go(self, work: Work) -> None:
        """Note that a job holds nothing any more of what was got for it."""
        if work.fetching is not None:
            work.fetching = None
            if self._queue.pop(work, None) is None:
                self._fetching.release()
            else:
                self._slow.release()
                self._free_models()

    def hush(self) -> None:
        """Begin with no slow job until `resume`, and wait for those that are begun."""
        self._slow.hush()

    def resume(self) -> None:
        """Begin with slow jobs again."""
        self._slow.resume()

    def stop(self) -> None:
        """Start nothing more."""
        self._fetching.stop()
        self._slow.stop()

    def join(self, timeout: float) -> bool:
        """Wait for slow jobs: they have programs and files of their own to clear away.

        Returns:
            Whether none is being preprocessed any more.
        """
        return self._slow.join(timeout)

    def _free_models(self) -> None:
        """Have slow jobs that wait ask anew for a model that is leaving: else it stays for long.

        The oldest keep theirs, since their turn is next.
        """
        waiting = list(self._queue)[_SLOW:]
        leaving = {
            key
            for key in {work.key for work in waiting}
            if key is not None and not self._model_of(key).done()
        }
        for work in waiting:
            future = work.fetching
            if work.key in leaving and future is not None and self._slow.take_back(future):
                work.fetch_s += time.monotonic() - self._queue.pop(work)
                work.model = work.fetching = None
                self._back(work)

    def _begin(self, work: Work, errand: Errand, fetching: Fetching) -> None:
        began = time.monotonic()

        def back(_: object) -> None:
            work.fetch_s += time.monotonic() - began
            self._back(work)

        work.fetching = future = fetching.get(errand)
        future.add_done_callback(back)

    def _gather(self, work: Work) -> Gathered:
        """Get what a job needs; in another thread, since that may be slow."""
        job, key, model = work.job, work.key, work.model
        assert job is not None
        assert key is not None
        assert model is not None
        # It may have waited long for others, and is not worth the trouble any more.
        if late := work.late():
            raise late
        if work.slow and self._is_canceled(work):
            return Gathered({}, canceled=True)
        gathered = Gathered(self._inputs.files(job))
        if job.cache:
            digest = self._cached.digest(job, key, model.name, gathered.files)
            gathered = replace(gathered, digest=digest, answer=self._cached.find(digest))
        if not work.slow or gathered.answer is not None:
            return gathered
        began = time.monotonic()
        with self.inside:
            prepared = model.preprocess(job, gathered.files)
        seconds = time.monotonic() - began
        return replace(gathered, files={}, prepared=prepared, seconds=seconds)

    def _is_canceled(self, work: Work) -> bool:
        try:
            return bool(self._outlet.canceled([work.delivery]))
        except Exception as error:  # noqa: BLE001 - it is tested again before the job runs
            log_fault(logger, "could not look who is canceled", error)
            return False
