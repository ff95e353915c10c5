"""What the demo measures: how jobs were batched and where their time went."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from stoker import Timing


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Numbers over many jobs; times in milliseconds.

    Attributes:
        jobs: How many jobs.
        batches: How many batches they shared.
        seconds: From the submission of the first job until the last result was read.
        padding_efficiency: Useful tokens by padded tokens, over all batches.
        queue_p50: Median time in the queue; likewise the other three.
    """

    jobs: int
    batches: int
    seconds: float
    padding_efficiency: float
    queue_p50: float
    queue_p99: float
    forward_p50: float
    forward_p99: float

    @property
    def mean_batch(self) -> float:
        """Jobs by batches."""
        return self.jobs / self.batches

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds

    def table(self) -> Table:
        """Lay the numbers out for people."""
        table = Table("measure", "value", title="What was measured")
        table.columns[1].justify = "right"
        table.add_row("jobs", f"{self.jobs}")
        table.add_row("time", f"{self.seconds:.1f} s")
        table.add_row("rate", f"{self.rate:.1f} jobs/s")
        table.add_row("batches", f"{self.batches}")
        table.add_row("mean batch", f"{self.mean_batch:.1f} jobs")
        table.add_row("padding efficiency", f"{self.padding_efficiency:.3f}")
        table.add_row("queue time p50 / p99", f"{self.queue_p50:.0f} / {self.queue_p99:.0f} ms")
        table.add_row(
            "forward time p50 / p99", f"{self.forward_p50:.1f} / {self.forward_p99:.1f} ms"
        )
        return table


def measure(timings: Sequence[Timing], seconds: float) -> Measures:
    """Sum up where the time of jobs went.

    Args:
        timings: Of at least one job.
        seconds: From the first submission until the last result.
    """
    queue = [timing.queue_ms for timing in timings]
    forward = [timing.forward_ms for timing in timings]
    padded = sum(timing.padded_tokens for timing in timings)
    return Measures(
        jobs=len(timings),
        batches=len({timing.batch for timing in timings}),
        seconds=seconds,
        padding_efficiency=sum(timing.tokens for timing in timings) / padded if padded else 1.0,
        queue_p50=percentile(queue, 50),
        queue_p99=percentile(queue, 99),
        forward_p50=percentile(forward, 50),
        forward_p99=percentile(forward, 99),
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """Give the smallest value that so many percent of all values do not pass."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
