"""Where a job waits, and what must be known of it until it ends: its line in a hash in Redis."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """A job that has not ended.

    Attributes:
        pool: The pool that is to run it.
        task: Its task.
        model: Its model; None for the pool's own.
        tenant: The tenant among whose jobs it counts; '' if nobody counts.
        retention: Seconds for which it wants its result kept; None for the usual time.
    """

    pool: str
    task: str
    model: str | None
    tenant: str = ""
    retention: int | None = None

    def line(self) -> str:
        """Give the line: a list in JSON, without what says nothing at its end."""
        fields: list[Any] = [self.pool, self.task, self.model]
        if self.retention is not None:
            fields += [self.tenant, self.retention]
        elif self.tenant:
            fields.append(self.tenant)
        return json.dumps(fields)


def read(line: bytes) -> Place:
    """Read a job's line."""
    return Place(*json.loads(line))
