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
        idle_with_work_s: Seconds in which a row was ready, of whichever model, and no pass ran.
        released: How many batches were no larger for each reason.
    """

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    busy_s: float = 0.0
    idle_with_work_s: float = 0.0
    released: Counter[str] = field(default_factory=Counter)
    # Until when each second is counted, as busy or as idle.
    _counted: float = 0.0

    def waited(self, since: float, now: float) -> None:
        """Count the time in which rows waited and no pass ran, in monotonic seconds.

        Args:
            since: Since when some row has waited. What of this time is counted already, as busy or
                as idle, is not counted again.
            now: A pass begins, or none is to come of these rows.
        """
        self.idle_with_work_s += max(0.0, now - max(self._counted, since))
        self._counted = now

    def ended(self, batch: Batch, rows: Sequence[Row], began: float, now: float) -> None:
        """Count a batch that ran from one time to another, in monotonic seconds."""
        self._counted = now
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
