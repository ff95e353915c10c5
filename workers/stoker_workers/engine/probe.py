"""Learns a model's best batch size on its device, by timing forward passes before jobs come.

More is not better: on a CPU what leaves the caches costs more than another pass saves, and on a GPU
time grows with the batch once it is busy. So passes of doubling size are timed until the rate of
tokens falls, and the smallest size near the peak is taken.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from stoker_workers.engine.forward import is_out_of_memory
from stoker_workers.engine.model import Chunk

logger = logging.getLogger(__name__)

# Tokens of one row: a short text. Longer rows make a pass of as many tokens slower, not faster.
_LENGTH: Final = 32
_FIRST_ROWS: Final = 2
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


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a probe has found out.

    Attributes:
        tokens: The padded tokens of one pass at which the device does most useful work.
        overhead: In how many tokens' time a pass starts: so much padding is cheaper than a pass.
    """

    tokens: int
    overhead: int


def probe(
    forward: Callable[[Sequence[Chunk]], Any],
    sample: Callable[[int], Chunk | None],
    clock: Callable[[], float] = time.perf_counter,
) -> Learned | None:
    """Time forward passes of growing size.

    Args:
        forward: Runs rows through the model.
        sample: Makes a row of so many tokens; None if the model has no such rows.
        clock: Seconds.

    Returns:
        What was learned; None if there are no sample rows, or not one pass succeeded.
    """
    row = sample(_LENGTH)
    if row is None:
        return None

    def seconds(rows: int) -> float:
        best = float("inf")
        for _ in range(_REPEATS):
            began = clock()
            forward([row] * rows)
            best = min(best, clock() - began)
        return best

    rates: dict[int, float] = {}
    began = clock()
    try:
        forward([row])  # the first pass pays for what all later ones find ready
        lone = seconds(1)
        for doubling in count():
            rows = _FIRST_ROWS << doubling
            took = seconds(rows)
            rates[rows] = rows * row.length / took
            peak = max(rates.values())
            behind = [rate < _FALLEN * peak for rate in list(rates.values())[-_FALLS:]]
            fallen = len(behind) == _FALLS and all(behind)
            spent = clock() - began > _ALL_SECONDS
            if fallen or spent or took > _LONGEST or 2 * rows > _MOST_ROWS:
                break
    except Exception as error:  # noqa: BLE001 - a probe decides nothing about the model's health
        if not is_out_of_memory(error):
            logger.warning("a probe failed: %s", type(error).__name__)
    if not rates:
        return None
    peak = max(rates.values())
    best = min(rows for rows, rate in rates.items() if rate >= _NEAR * peak)
    overhead = max(0.0, lone * peak - row.length)
    return Learned(tokens=best * row.length, overhead=round(overhead))
