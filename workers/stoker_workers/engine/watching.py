"""Preprocesses alone each of the jobs that workers keep dying with, to learn which of them kills.

A job is known to run from its first forward pass on. One that takes the process down before that,
while it is decoded or tokenised, is not found so: it dies among hundreds that only wait. So
whatever was held by several workers that died is marked as running while it is preprocessed, one
at a time and with nothing else at work, and a death is counted for it alone.
"""

import time
from collections.abc import Mapping
from typing import Final

from stoker_tasks.errors import Canceled
from stoker_workers.engine.delivery import Deaths, Outlet, Work
from stoker_workers.engine.gathering import Gathering
from stoker_workers.engine.inside import Inside
from stoker_workers.engine.line import Line
from stoker_workers.engine.model import Prepared

# Workers that died while they held a job, after which it is watched. Once happens to all.
_DEATHS: Final = 2
# For how long watched jobs are preprocessed one after the other before those that are cleared run:
# long enough for many texts, that they may share batches, and for one film.
_QUIET_SECONDS: Final = 1.0


class Watching:
    """The quiet in which the first stage preprocesses suspects. For its thread only.

    Args:
        line: The line.
        gathering: Preprocesses slow jobs beside it.
        outlet: Notes who is to blame.
    """

    def __init__(self, line: Line, gathering: Gathering, outlet: Outlet) -> None:
        self._line = line
        self._gathering = gathering
        self._outlet = outlet
        self._since: float | None = None

    def is_called_for(self, deaths: Deaths) -> bool:
        """Tell whether a job is to be watched."""
        return deaths.beside >= _DEATHS

    def preprocess(self, work: Work, media: Mapping[str, bytes], inside: Inside) -> Prepared | None:
        """Preprocess a job; it is to blame if the process dies of it.

        Args:
            work: The job.
            media: The files that it names.
            inside: Lasts while the model's code does.

        Returns:
            None if nobody waits for it, or if the line is stopping: nothing more is to be done.
        """
        assert work.job is not None
        assert work.model is not None
        if not self._be_quiet():
            return None
        if late := work.late():
            raise late
        self._line.begun[work] = None
        if not self._outlet.blame(work.delivery):
            # First told: a job with an error counts as one that the outlet has heard of.
            self._outlet.dropped([work.delivery])
            self._line.begun.pop(work, None)
            work.error = Canceled("the job was canceled before it was preprocessed")
            return None
        try:
            with inside:
                return work.model.preprocess(work.job, media)
        finally:
            self._outlet.clear(work.delivery)
            self._line.begun.pop(work, None)

    def rest(self) -> None:
        """Let the others go on, if no suspect is next or they have waited long enough."""
        since = self._since
        if since is None:
            return
        if self._line.inbox.empty() or time.monotonic() - since > _QUIET_SECONDS:
            self._since = None
            self._gathering.resume()
            self._line.resume()

    def _be_quiet(self) -> bool:
        """Wait until nothing is at work but this thread; False if the line is stopping."""
        if self._since is None:
            # Else a stage that dies meanwhile would leave the others waiting.
            self._since = time.monotonic()
            self._gathering.hush()
            quiet = self._line.hush()
            self._since = time.monotonic()
            return quiet
        return not self._line.stopping.is_set()
