"""The line that a job passes: preprocess → wait → forward → postprocess → outlet.

Three threads, one for each stage, so that tokenising, the forward pass and storing overlap. Bad
input fails in the first stage, alone; the second owns the device; the third hands outcomes on in
bunches, as large as have gathered. A fourth hands on texts that somebody follows while they grow.
A thread that dies is started again, and its jobs go back.
"""

import time
from collections.abc import Callable

from stoker_tasks.errors import Internal, StokerError
from stoker_workers.engine.batcher import Batcher
from stoker_workers.engine.delivery import Delivery, Outlet, Work
from stoker_workers.engine.finishing import Finishing
from stoker_workers.engine.line import Line
from stoker_workers.engine.meter import Meter
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.payloads import Payloads
from stoker_workers.engine.preparing import Models, Preparing
from stoker_workers.engine.running import Running
from stoker_workers.engine.stage import Lost, Stage
from stoker_workers.engine.telling import Telling
from stoker_workers.engine.window import Budget


class Flow:
    """The engine of one device.

    Args:
        models: Where warm models come from.
        payloads: Reads inputs, and puts outputs where they belong.
        outlet: Where outcomes go.
        budget_of: Says how large a batch of a model may grow.
        overflowed: Is told of a batch of so many padded tokens that did not fit into memory.
        output_interval: Seconds between two webhook events of one job's new text.

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
        output_interval: float = 1.0,
    ) -> None:
        self.meter = Meter()
        self._line = Line(Batcher(budget_of))
        self._preparing = Preparing(self._line, models, payloads, outlet)
        self._telling = telling = Telling(outlet, output_interval)
        self._running = Running(self._line, outlet, self.meter, overflowed, telling.follow)
        self._finishing = Finishing(self._line, payloads, outlet, telling)
        self._outlet = outlet
        self._changed: Callable[[], None] = lambda: None
        self._stages = [
            Stage(name, step, self._give_back, lambda: self._changed())
            for name, step in (
                ("preprocess", self._preparing),
                ("forward", self._running),
                ("postprocess", self._finishing),
            )
        ]

    def listen(self, changed: Callable[[], None]) -> None:
        """Have a call made whenever a stage has died."""
        self._changed = changed

    def start(self) -> None:
        """Start the three stages."""
        for stage in self._stages:
            stage.start()
        self._telling.start()

    def accept(self, delivery: Delivery) -> None:
        """Take a delivery in. Never blocks; whatever comes of it is told to the outlet."""
        self._line.inbox.put(Work(delivery))

    def owe(self, model: ModelKey, seconds: float) -> None:
        """Note what a model's loading cost for which others had to go: it is device time too."""
        self._line.owe(model, seconds)

    def refuse(self, delivery: Delivery, error: StokerError) -> None:
        """End a delivery with an error. Never blocks."""
        self._line.fail(Work(delivery), error)

    def stop(self, timeout: float, settle: float = 30.0) -> bool:
        """Finish the running batch and what it completes; leave everything else unstarted.

        Args:
            timeout: Seconds for all of it.
            settle: Seconds of these for storing what the batch completed: the server may be away.

        Returns:
            Whether all stages ended in time, and what is preprocessed beside them. Deliveries of
            which the outlet was not told anything are to be given back to the queue.
        """
        preprocess, forward, postprocess = self._stages
        deadline = time.monotonic() + timeout
        self._line.stop()
        self._preparing.stop()
        forward.join(timeout)
        # Only when no batch can complete any more jobs may the last stage end.
        self._line.done.put(None)
        postprocess.join(min(settle, max(0.0, deadline - time.monotonic())))
        preprocess.join(min(settle, max(0.0, deadline - time.monotonic())))
        # However long a page or a film takes, its programs and files are cleared away.
        slow_ended = self._preparing.join(max(0.0, deadline - time.monotonic()))
        self._telling.stop()
        return slow_ended and all(stage.has_ended() for stage in self._stages)

    def interrupted(self) -> list[Delivery]:
        """List the jobs that were begun and are not finished: after `stop`, rows of them wait."""
        return [work.delivery for work in list(self._line.begun)]

    def trouble(self, hang_seconds: float) -> str | None:
        """Say why this engine does no work any more; None if it does.

        Args:
            hang_seconds: How long a batch may run, or a job be before or after it, until the device
                or the model's code counts as hung.
        """
        inside = {
            "a job has been preprocessed": self._preparing.inside.since,
            "a batch has run": self._running.busy_since,
            "a job has been postprocessed": self._finishing.inside.since,
        }
        for what, since in inside.items():
            if since is not None and time.monotonic() - since > hang_seconds:
                return f"{what} for more than {hang_seconds:g} s"
        ended = [stage.name for stage in self._stages if stage.has_ended()]
        if ended and not self._line.stopping.is_set():
            return f"the stage {', '.join(ended)} ended"
        return None

    def ailing(self) -> str:
        """Say what is not well though it works; "" if nothing is."""
        died = {stage.name: count for stage in self._stages if (count := stage.deaths())}
        return "; ".join(
            f"the stage {name} died {count} times within a minute" for name, count in died.items()
        )

    def _give_back(self, lost: Lost) -> None:
        for work in lost.works:
            # Rows of it that wait must not run here, nor what it waits for bring it back.
            work.error = Internal("the job went back to its queue")
            self._line.begun.pop(work, None)
        if lost.works:
            guilty = len(lost.suspects) == 1
            suspects = [work.delivery for work in lost.suspects]
            self._outlet.returned([work.delivery for work in lost.works], suspects, guilty=guilty)
