"""Shifts `time.time` of one process, before anything else in it has been imported.

Python imports a module of this name at start. Only the clock of `time` is shifted: it is what
leases, scores and time stamps would be taken from; `datetime` keeps the right time.
"""

import os
import time

_BY = float(os.environ.get("CHAOS_SKEW", "0"))
_right = time.time


def _wrong() -> float:
    return _right() + _BY


time.time = _wrong
