"""What a worker's device has done since its start, and how long it stood idle with work at hand."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from stoker_workers.engine.window import Batch, Row


@dataclass(slots=True)
class Meter:
    """Counts of one device. The device's thread writes them, and any thread may read.

    Attributes:
        batches: Forward passes, not counting those that a fault made necessary.
        rows: Rows in them.
        tokens: The rows' own tokens.
        padded_tokens: Tokens with the padding; `tokens / padded_tokens` is the padding efficiency.
        busy_s: Seconds in forward passes.
        idle_with_work_s: Seconds in which a row was ready and no pass ran.
        released: How many batches were no larger for each reason.
    """

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    busy_s: float = 0.0
    idle_with_work_s: float = 0.0
    released: Counter[str] = field(default_factory=Counter)
    _free_since: float = 0.0

    def began(self, rows: Sequence[Row], now: float) -> None:
        """Count the time that a batch's first row waited for a device that was free."""
        ready = min(row.work.ready for row in rows)
        self.idle_with_work_s += max(0.0, now - max(self._free_since, ready))

    def ended(self, batch: Batch, rows: Sequence[Row], began: float, now: float) -> None:
        """Count a batch that ran from one time to another, in monotonic seconds."""
        self._free_since = now
        self.busy_s += now - began
        self.batches += 1
        self.rows += len(rows)
        self.tokens += sum(row.chunk.length for row in rows)
        self.padded_tokens += len(rows) * max(row.chunk.length for row in rows)
        self.released[batch.reason] += 1

    def read(self) -> dict[str, float]:
        """Give all counts, those of reasons as `released_REASON`."""
        return {
            "batches": self.batches,
            "rows": self.rows,
            "tokens": self.tokens,
            "padded_tokens": self.padded_tokens,
            "busy_s": round(self.busy_s, 3),
            "idle_with_work_s": round(self.idle_with_work_s, 3),
            **{f"released_{reason}": count for reason, count in sorted(self.released.items())},
        }
