"""The third stage: makes results of what the model gave, and hands them on in bunches."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from queue import SimpleQueue

from stoker_tasks.errors import Internal, StokerError
from stoker_tasks.result import Success
from stoker_workers.engine.delivery import Outcome, Outlet, Work
from stoker_workers.engine.faults import free_frames, log_fault
from stoker_workers.engine.inside import Inside
from stoker_workers.engine.line import Done, Line
from stoker_workers.engine.outputs import Placed
from stoker_workers.engine.payloads import Payloads
from stoker_workers.engine.stage import Lost
from stoker_workers.engine.telling import Telling

logger = logging.getLogger(__name__)

# What becomes of an output: where it belongs now or in time, or why there is none.
_Placing = Placed | Future[Placed] | StokerError


class Finishing:
    """The third stage of a line.

    Args:
        line: The line.
        payloads: Puts outputs where they belong, and notes answers for later jobs.
        outlet: Where outcomes go.
        telling: The texts that somebody follows; their ends come before their jobs' results.
    """

    def __init__(
        self, line: Line, payloads: Payloads, outlet: Outlet, telling: Telling | None = None
    ) -> None:
        self._line = line
        self._outputs = payloads.outputs
        self._cached = payloads.cached
        self._outlet = outlet
        self._telling = telling
        self._hand: list[Work] = []
        self._at: Work | None = None
        self.inside = Inside()

    def next(self) -> bool:
        """Hand on the outcomes that have gathered; False at the end of the line."""
        self._hand, end = _gather(self._line.done)
        try:
            # All of them are on their way to the store before one is waited for, and those that
            # need no store do not wait for it.
            placing = [(work, self._postprocess(work)) for work in self._hand]
            self._finish([each for each in placing if not isinstance(each[1], Future)])
            self._finish([each for each in placing if isinstance(each[1], Future)])
        except BaseException:
            if end is None:  # for this stage's next life
                self._line.done.put(None)
            raise
        finally:
            if isinstance(end, threading.Event):
                end.set()
        return end is not None

    def lost(self) -> Lost:
        """Say what was in hand when `next` was left by an exception."""
        hand, self._hand = self._hand, []
        at, self._at = self._at, None
        return Lost(hand, [at] if at in hand else hand)

    def _finish(self, placing: Sequence[tuple[Work, _Placing]]) -> None:
        if not placing:
            return
        outcomes = [(work.delivery, self._outcome(work, placed)) for work, placed in placing]
        self._at = None  # from here on, no single one
        followed = [work for work, _ in placing if work.job is not None and work.job.followed]
        try:
            if self._telling is not None and followed:
                self._telling.finish(followed)
            self._outlet.finished(outcomes)
        except Exception as error:  # noqa: BLE001 - unacknowledged, so it is delivered again
            log_fault(logger, "outcomes could not be stored; they are delivered again", error)
        ended = {id(work) for work, _ in placing}
        self._hand = [work for work in self._hand if id(work) not in ended]

    def _postprocess(self, work: Work) -> _Placing:
        """Make a job's output, and begin to put it where it belongs."""
        self._at = work
        if work.error is not None:
            return work.error
        assert work.job is not None
        assert work.model is not None
        try:
            output = work.answer
            if output is None:
                assert work.prepared is not None
                with self.inside:
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


def _postprocessing_failed(error: Exception) -> StokerError:
    if isinstance(error, StokerError):
        free_frames(error)
        return error
    log_fault(logger, "postprocessing failed", error)
    free_frames(error)  # the future of what was to be stored may keep it
    return Internal(f"postprocessing failed: {type(error).__name__}: {error}")


def _gather(queue: SimpleQueue[Done]) -> tuple[list[Work], threading.Event | bool | None]:
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
