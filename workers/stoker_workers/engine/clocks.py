"""The three clocks of a job: how long it may wait, how long it may run, and when it is too late."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from math import inf

from stoker_tasks.errors import Expired, QueueTimeout, RunTimeout, StokerError
from stoker_tasks.job import Job


@dataclass(frozen=True, slots=True)
class Clocks:
    """When a job's time runs out, in monotonic seconds of this process.

    Attributes:
        start_by: It must have been started by then.
        end_by: It must be finished by then.
        job: The job, with the clocks as its caller set them.
    """

    start_by: float
    end_by: float
    job: Job

    @classmethod
    def of(cls, job: Job, submitted: float, now: Callable[[], float]) -> "Clocks | None":
        """Wind the clocks of a job that a worker has taken; None if it has none.

        Args:
            job: The job.
            submitted: When it was submitted, in seconds since the epoch.
            now: Tells the time by the same clock.
        """
        if job.queue_timeout is None and job.run_timeout is None and job.deadline is None:
            return None
        here = time.monotonic() - now()
        return cls(
            inf if job.queue_timeout is None else here + submitted + job.queue_timeout,
            inf if job.deadline is None else here + job.deadline.timestamp(),
            job,
        )

    def due(self, started: float) -> float:
        """Say when the next clock runs out.

        Args:
            started: When the job was started; 0 if it waits.
        """
        return min(self.end_by, self._run_by(started) if started else self.start_by)

    def late(self, started: float) -> StokerError | None:
        """Say which clock has run out; None if none has.

        Args:
            started: When the job was started; 0 if it waits.
        """
        now = time.monotonic()
        if now < self.due(started):
            return None
        if now >= self.end_by:
            assert self.job.deadline is not None
            return _too_late(self.job.deadline, started)
        if started:
            return RunTimeout(
                f"the job was not finished within its run_timeout of {self.job.run_timeout:g} s: "
                "give it more time, or ask for less",
                {"phase": "run", "clock": "run_timeout", "seconds": self.job.run_timeout},
            )
        return QueueTimeout(
            f"the job was not started within its queue_timeout of {self.job.queue_timeout:g} s: "
            "give it more time, or add a worker",
            {"phase": "queue", "clock": "queue_timeout", "seconds": self.job.queue_timeout},
        )

    def _run_by(self, started: float) -> float:
        return inf if self.job.run_timeout is None else started + self.job.run_timeout


def _too_late(deadline: datetime, started: float) -> Expired:
    return Expired(
        f"the job's deadline passed while it {'ran' if started else 'waited'}: give it more time",
        {
            "phase": "run" if started else "queue",
            "clock": "deadline",
            "deadline": deadline.isoformat(),
        },
    )
