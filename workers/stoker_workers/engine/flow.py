"""The line that a job passes: preprocess → wait → forward → postprocess → outlet.

Three threads, one for each stage, so that tokenising, the forward pass and storing overlap. Bad
input fails in the first stage, alone; the second owns the device; the third hands outcomes on in
bunches, as large as have gathered.
"""

import threading
import time
from collections.abc import Callable

from stoker_tasks.errors import StokerError
from stoker_workers.engine.batcher import Batcher
from stoker_workers.engine.delivery import Delivery, Outlet, Work
from stoker_workers.engine.finishing import Finishing
from stoker_workers.engine.line import Line
from stoker_workers.engine.meter import Meter
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.payloads import Payloads
from stoker_workers.engine.preparing import Models, Preparing
from stoker_workers.engine.running import Running
from stoker_workers.engine.window import Budget


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
        self.meter = Meter()
        self._line = Line(Batcher(budget_of))
        self._preparing = Preparing(self._line, models, payloads, outlet)
        self._running = Running(self._line, outlet, self.meter, overflowed)
        self._threads = [
            threading.Thread(target=_loop, args=(stage,), name=f"stoker-{name}", daemon=True)
            for name, stage in (
                ("preprocess", self._preparing.next),
                ("forward", self._running.next),
                ("postprocess", Finishing(self._line, payloads, outlet).next),
            )
        ]

    def start(self) -> None:
        """Start the three stages."""
        for thread in self._threads:
            thread.start()

    def accept(self, delivery: Delivery) -> None:
        """Take a delivery in. Never blocks; whatever comes of it is told to the outlet."""
        self._line.inbox.put(Work(delivery))

    def refuse(self, delivery: Delivery, error: StokerError) -> None:
        """End a delivery with an error. Never blocks."""
        self._line.fail(Work(delivery), error)

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
        self._line.stop()
        self._preparing.stop()
        forward.join(timeout)
        # Only when no batch can complete any more jobs may the last stage end.
        self._line.done.put(None)
        postprocess.join(min(settle, max(0.0, deadline - time.monotonic())))
        preprocess.join(min(settle, max(0.0, deadline - time.monotonic())))
        return not any(thread.is_alive() for thread in self._threads)

    def interrupted(self) -> list[Delivery]:
        """List the jobs that were begun and are not finished: after `stop`, rows of them wait."""
        return [work.delivery for work in list(self._line.begun)]

    def trouble(self, hang_seconds: float) -> str | None:
        """Say why this engine does no work any more; None if it does.

        Args:
            hang_seconds: How long a batch may take before the device counts as hung.
        """
        since = self._running.busy_since
        if since is not None and time.monotonic() - since > hang_seconds:
            return f"a batch has run for more than {hang_seconds:.0f} s"
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        if dead and not self._line.stopping.is_set():
            return f"{', '.join(dead)} ended"
        return None


def _loop(stage: Callable[[], bool]) -> None:
    while stage():
        pass
