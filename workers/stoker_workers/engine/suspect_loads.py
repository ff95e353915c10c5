"""Has the models of the jobs that workers keep dying with loaded one at a time: whose load kills?

While a suspect's model is loaded it is marked as running, so that a death counts for it. Those that
wait for their turn are loaded for, or begin at once if their model is warm, when it is over.
"""

from collections import deque

from stoker_tasks.errors import Canceled
from stoker_workers.engine.delivery import Outlet, Work
from stoker_workers.engine.line import Line


class SuspectLoads:
    """The turns of suspects to have their models loaded. For the first stage's thread only.

    Args:
        line: The line.
        outlet: Notes who is to blame.
    """

    def __init__(self, line: Line, outlet: Outlet) -> None:
        self._line = line
        self._outlet = outlet
        self._turn: Work | None = None
        self._waiting: deque[Work] = deque()

    def begin(self, work: Work) -> bool:
        """Give a suspect its turn; it is to blame if the process dies until that is over.

        Returns:
            Whether its model may be loaded: not if it comes back later, or if nobody waits for it.
        """
        if self._turn is work:
            return True
        if self._turn is not None:
            self._waiting.append(work)
            return False
        self._turn = work
        self._line.begun[work] = None
        if self._outlet.blame(work.delivery):
            return True
        # First told: a job with an error counts as one that the outlet has heard of.
        self._outlet.dropped([work.delivery])
        work.error = Canceled("the job was canceled before its model was loaded")
        return False

    def end(self, work: Work) -> None:
        """Give the next one its turn, if this one had it."""
        if self._turn is not work:
            return
        self._turn = None
        self._outlet.clear(work.delivery)
        self._line.begun.pop(work, None)
        if self._waiting:
            self._line.inbox.put(self._waiting.popleft())
