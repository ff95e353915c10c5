"""Learns a model's best batch size on its device, by timing forward passes before jobs come.

More is not better: on a CPU what leaves the caches costs more than another pass saves, and on a GPU
time grows with the batch once it is busy. So passes of doubling size are timed until the rate of
tokens falls, and the smallest size near the peak is taken. One row alone is such a size too, and
all others are held against it: no batch may take longer than its rows one after another.

On a CPU whose other processes want it too, short passes fit between their turns and long ones do
not, so batches look slower than they are. What is found there is not believed.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from stoker_workers.engine.forward import is_device_fault, is_out_of_memory
from stoker_workers.engine.model import Chunk

logger = logging.getLogger(__name__)

# Tokens of one row: a short text. Longer rows make a pass of as many tokens slower, not faster.
_LENGTH: Final = 32
_MOST_ROWS: Final = 2048
# A size is near the peak if its rate is at least so much of it.
_NEAR: Final = 0.97
# Behind the peak so often in a row, and not just disturbed: no larger size is worth timing.
_FALLEN: Final = 0.9
_FALLS: Final = 2
# Seconds: a pass this long would make others wait for no gain worth it.
_LONGEST: Final = 0.5
# Seconds for the whole probe: it keeps a worker from starting.
_ALL_SECONDS: Final = 3.0
_REPEATS: Final = 2
# Rows are slower together if their rate is below so much of a lone row's: less is noise.
_SLOWER: Final = 0.95
# So often it is looked again, for so many seconds, since no batch will be as large from then on.
_LOOKS: Final = 3
_LOOK_SECONDS: Final = 1.0
# A thread that computes for less of the time than this shares its CPU with others: alone it is at
# 0.9 and above, and beside one other process at two thirds.
_OWN: Final = 0.8


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a probe has found out.

    Attributes:
        tokens: The padded tokens of one pass at which the device does most useful work.
        overhead: In how many tokens' time a pass starts: so much padding is cheaper than a pass.
        most: The padded tokens beyond which rows together take longer than one after another, or
            could not be timed; None if no such size is known.
    """

    tokens: int
    overhead: int
    most: int | None = None


def probe(
    forward: Callable[[Sequence[Chunk]], Any],
    sample: Callable[[int], Chunk | None],
    clock: Callable[[], float] = time.perf_counter,
    least: int = 0,
    computed: Callable[[], float] | None = None,
) -> Learned | None:
    """Time forward passes of growing size.

    Args:
        forward: Runs rows through the model.
        sample: Makes a row of so many tokens; None if the model has no such rows.
        clock: Seconds.
        least: Passes of so many tokens are timed even where smaller ones are better, unless they
            take too long.
        computed: Seconds for which a CPU has computed for this thread; None where passes run on
            another device, for which the thread only waits.

    Returns:
        What was learned; None if there are no sample rows, not one batch succeeded, or other
        processes kept the CPU from this one.

    Raises:
        RuntimeError: The device is lost to this process.
    """
    row = sample(_LENGTH)
    if row is None:
        return None
    passes = _Passes(forward, row, clock, computed or clock)
    rates: dict[int, float] = {}
    too_much = False
    try:
        forward([row])  # the first pass pays for what all later ones find ready
        began = clock()
        lone = passes.shortest(1)
        for doubling in count(1):
            rows = 1 << doubling
            took = passes.shortest(rows)
            # All is held against the lone row: it is timed beside each, lest it was disturbed.
            lone = min(lone, passes.shortest(1))
            rates[1] = row.length / lone
            rates[rows] = rows * row.length / took
            peak = max(rates.values())
            behind = [rate < _FALLEN * peak for rate in list(rates.values())[-_FALLS:]]
            fallen = len(behind) == _FALLS and all(behind) and rows * row.length >= least
            spent = clock() - began > _ALL_SECONDS
            too_much = took > _LONGEST
            if fallen or spent or too_much or 2 * rows > _MOST_ROWS:
                break
    except Exception as error:  # noqa: BLE001 - a probe decides nothing about the model's health
        _pass_over(error)
        too_much = is_out_of_memory(error)
    if not rates or passes.were_disturbed():
        return None
    peak = max(rates.values())
    best = min(rows for rows, rate in rates.items() if rate >= _NEAR * peak)
    suspects = [rows for rows in rates if rows > best and rates[rows] < _SLOWER * rates[1]]
    most: int | None = None
    try:
        most = next((rows // 2 for rows in suspects if passes.are_slower(rows)), None)
    except Exception as error:  # noqa: BLE001 - as above
        _pass_over(error)
    if passes.were_disturbed():
        return None
    # What was not timed since time ran out may well be better.
    if most is None and too_much and max(rates) * row.length < least:
        most = max(rates)
    overhead = max(0.0, row.length * peak / rates[1] - row.length)
    return Learned(
        tokens=best * row.length,
        overhead=round(overhead),
        most=None if most is None else most * row.length,
    )


class _Passes:
    """Times passes of equal rows."""

    def __init__(
        self,
        forward: Callable[[Sequence[Chunk]], Any],
        row: Chunk,
        clock: Callable[[], float],
        computed: Callable[[], float],
    ) -> None:
        self._forward, self._row = forward, row
        self._clock, self._computed = clock, computed
        self._took = self._own = 0.0

    def seconds(self, rows: int, passes: int = 1) -> float:
        """Time passes of so many rows, one after another."""
        began, before = self._clock(), self._computed()
        for _ in range(passes):
            self._forward([self._row] * rows)
        took = self._clock() - began
        self._took += took
        self._own += self._computed() - before
        return took

    def were_disturbed(self) -> bool:
        """Tell whether other processes kept the CPU from the passes since this was last asked."""
        disturbed = self._own < _OWN * self._took
        if disturbed:
            logger.info(
                "the CPU is busy with other work, which got %d %% of its time: no best batch is "
                "learned before the next start",
                100 - 100 * self._own / self._took,
            )
        self._took = self._own = 0.0
        return disturbed

    def shortest(self, rows: int) -> float:
        """Time a pass some times: whatever disturbs it makes it longer."""
        return min(self.seconds(rows) for _ in range(_REPEATS))

    def are_slower(self, rows: int) -> bool:
        """Look again whether rows take longer together than one after another.

        Both are timed in turn and for about as long, so that what disturbs them hits both alike.
        """
        together = alone = float("inf")
        began = self._clock()
        for _ in range(_LOOKS):
            together = min(together, self.seconds(rows))
            alone = min(alone, self.seconds(1, passes=rows))
            if self._clock() - began > _LOOK_SECONDS:
                break
        return alone < _SLOWER * together


def _pass_over(error: Exception) -> None:
    if is_device_fault(error):
        raise error
    if not is_out_of_memory(error):
        logger.warning("a probe failed: %s", type(error).__name__)
