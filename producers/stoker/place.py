"""When and where a job was queued, known until it ends: its line in a hash in Redis."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """A job that has not ended.

    Attributes:
        queued_at: When it was queued, in seconds since the epoch by the server's clock.
        pool: The pool that is to run it; '' if that is not known, as of a stock producer's job.
        task: Its task; '' if that is not known.
        model: Its model; None for the pool's own.
        tenant: The tenant among whose jobs it counts; '' if nobody counts.
        retention: Seconds for which it wants its result kept; None for the usual time.
    """

    queued_at: float
    pool: str = ""
    task: str = ""
    model: str | None = None
    tenant: str = ""
    retention: int | None = None

    def line(self) -> str:
        """Give the line: a list in JSON, without what says nothing at its end."""
        fields: list[Any] = [self.queued_at, self.pool, self.task, self.model]
        if self.retention is not None:
            fields += [self.tenant, self.retention]
        elif self.tenant:
            fields.append(self.tenant)
        return json.dumps(fields)


def read(line: bytes) -> Place:
    """Read a job's line."""
    return Place(*json.loads(line))
