"""Loads models, one after another on a thread of its own; one that waits lets others pass it."""

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from traceback import clear_frames
from typing import Final

from stoker_tasks.errors import ModelLoadFailed, StokerError
from stoker_workers.engine.faults import log_fault
from stoker_workers.engine.forward import is_device_fault
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.progress import Course, Progress
from stoker_workers.engine.shelf import Shelf

logger = logging.getLogger(__name__)

# Seconds for which a model that was just loaded counts as in use, until a job takes it: else the
# next load could give it up before it served once.
FRESH_FOR: Final = 10.0

_POLL: Final = 0.02


class _Load:
    """One load, and the progress of it.

    Args:
        key: What is loaded.
        shelf: Where the models are kept; its lock is held.
        began: Is told when a step of it has begun, and whether that may not take long.

    Attributes:
        key: What is loaded.
        entry: What is known of it.
        course: The loader at work; None before it has begun.
        began: When it had room to begin.
        is_swap: Whether others were given up for it.
    """

    def __init__(self, key: ModelKey, shelf: Shelf, began: Callable[[bool], None]) -> None:
        self.key = key
        self.entry = shelf.entries[key]
        self.course: Course | None = None
        self.began = 0.0
        self.is_swap = False
        self._shelf = shelf
        self._began = began

    @property
    def wary(self) -> bool:
        with self._shelf.lock:
            return self._shelf.is_suspect(self.key)

    def step(self, what: str, *, timed: bool = True) -> None:
        self.entry.step = what
        self._began(timed)

    def took(self, size: int) -> None:
        self.entry.size = size


class Loader:
    """The loader thread of one worker, which also gives up what is to leave.

    Args:
        shelf: Where the models are kept.
        load: Loads a model. Runs on the loader thread, which leaves it where it asks for memory.
        limit: How many models are kept warm.
        free: Gives the bytes that the device has free, where it is known to be more exact.
        release: Gives back the memory of what was given up.
        tell: Is called whenever a state has changed.
        charge: Is called for each model for which others went: which, and what its load cost.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        shelf: Shelf,
        load: Callable[[ModelKey, Progress], Course],
        limit: int,
        *,
        free: Callable[[], int | None],
        release: Callable[[], None],
        tell: Callable[[], None],
        charge: Callable[[ModelKey, float], None],
        clock: Callable[[], float],
    ) -> None:
        self._shelf = shelf
        self._load = load
        self._limit = limit
        self._free = free
        self._release = release
        self._tell = tell
        self._charge = charge
        self._clock = clock
        # None: a model that is to be given up is no longer in use. Its `put` may be called from a
        # weak reference's callback, where no lock may be taken.
        self._wanted: SimpleQueue[ModelKey | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # The thread's own, the one that was asked for first before the others.
        self._loads: list[_Load] = []
        # Since when the thread does what must come to an end; None while it waits, or downloads.
        self._since: float | None = None
        self._ended = ""

    def want(self, key: ModelKey) -> None:
        """Have a model loaded; the shelf's lock is held, and its entry is there."""
        self._wanted.put(key)
        if self._thread is None:
            # A daemon: a download that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name="stoker-loader", daemon=True)
            self._thread.start()

    def sweep_soon(self) -> None:
        """Have what is leaving, and no longer in use, given up."""
        self._wanted.put(None)

    def trouble(self, hang_seconds: float) -> str | None:
        """Say why no model can be loaded any more; None if it can. Whoever watches asks for it.

        Args:
            hang_seconds: How long a step of a load may take until the device or the model's code
                counts as hung. Downloads, and waiting for room, may take any time.
        """
        since = self._since
        if since is not None and self._clock() - since > hang_seconds:
            return f"a step of a model's load has taken more than {hang_seconds:g} s"
        return self._ended or None

    def _run(self) -> None:
        try:
            self._load_wanted()
        except BaseException as error:  # noqa: BLE001 - else nobody would know that it ended
            # Whoever waits for a model waits on: `trouble` tells, and the process is to end.
            log_fault(logger, "the loader ended", error)
            lost = "the device was lost while a model was loaded"
            self._ended = lost if is_device_fault(error) else "the loader ended"

    def _load_wanted(self) -> None:
        moved = False
        while True:
            self._since = None
            asked = self._take_in(wait=not moved)
            self._since = self._clock()
            gone = self._sweep()
            # Always from the first one on, so that none waits longer than for one step of another.
            moved = any(self._bring_on(load) for load in tuple(self._loads))
            if asked or gone or moved:
                self._tell()

    def _take_in(self, *, wait: bool) -> bool:
        """Take in what is wanted by now; tell whether there was anything.

        Args:
            wait: Whether to wait for it: until there is, or shortly while loads wait.
        """
        asked, pause = False, _POLL if self._loads else None
        try:
            while True:
                key = self._wanted.get(wait and not asked, pause)
                asked = True
                if key is not None:
                    with self._shelf.lock:
                        self._loads.append(_Load(key, self._shelf, self._began))
        except Empty:
            return asked

    def _began(self, timed: bool) -> None:
        self._since = self._clock() if timed else None
        self._tell()

    def _sweep(self) -> bool:
        """Give up those that are leaving and no longer in use; tell whether there were any."""
        with self._shelf.lock:
            gone = self._shelf.sweep()
        if gone:
            self._release()
        return gone

    def _bring_on(self, load: _Load) -> bool:
        """Go on with a load until it asks for memory, or is over; False if it has to wait."""
        if load.entry.model is not None:
            # It is leaving, and was asked for again before its last job was done.
            return False
        outcome: WarmModel | StokerError
        try:
            if load.course is None:
                load.course = self._load(load.key, load)
            elif not self._has_room(load):
                return False
            with self._shelf.lock:
                # Before loading, so that the memory is free by then.
                load.is_swap |= self._shelf.give_up(leaving=self._limit - 1)
            load.began = self._clock()
            load.step("loading")
            size = next(load.course)
            with self._shelf.lock:
                self._shelf.claims.put(load.key, size)
            load.step("making room")
            return True
        except StopIteration as ended:
            outcome = ended.value
        except StokerError as raised:
            outcome = raised
        except BaseException as raised:  # whatever else it is, the thread must go on
            if is_device_fault(raised):
                raise
            outcome = ModelLoadFailed(
                f"{load.key.model} could not be loaded: {type(raised).__name__}"
            )
            outcome.__cause__ = raised
        self._loads.remove(load)
        if load.course is not None:
            # It may have been refused the room that it waits for, and have something to end.
            load.course.close()
        self._end(load, outcome)
        return True

    def _has_room(self, load: _Load) -> bool:
        """Give models up until a load has the memory it waits for; False if it has to wait on."""
        while True:
            with self._shelf.lock:
                claim = self._shelf.claims.of(load.key)
                assert claim is not None
                short = self._shelf.shortage(load.key, claim.size)
                if not self._shelf.may_pass(load.key):
                    return False
                free = self._free()
                wanting = max(short, 0 if free is None else claim.size - free)
                gone = self._shelf.part(load.key, wanting, hard=short)
                load.is_swap |= gone or short > 0
                if not gone and short <= 0:
                    self._shelf.claims.settle(load.key)
                    load.entry.size = claim.size
            if gone:
                self._release()
            else:
                return short <= 0

    def _end(self, load: _Load, outcome: WarmModel | StokerError) -> None:
        entry = load.entry
        with self._shelf.lock:
            self._shelf.claims.drop(load.key)
            waiting, entry.waiting = entry.waiting, []
            if isinstance(outcome, StokerError):
                entry.error, entry.failed_at, entry.size = outcome, self._clock(), 0
                entry.failures += 1
                self._shelf.forget_failures()
            else:
                entry.model, entry.since, entry.failures = outcome, self._clock(), 0
                self._shelf.clear(load.key)
                entry.cost = entry.since - load.began
                entry.fresh_until = entry.since + FRESH_FOR
                lent = entry.lend(self.sweep_soon)
        if isinstance(outcome, StokerError):
            _free_frames(outcome)
            for future in waiting:
                future.set_exception(again(outcome))
            return
        if load.is_swap:
            self._charge(load.key, entry.cost)
        for future in waiting:
            future.set_result(lent)


def _free_frames(error: BaseException | None) -> None:
    """Free what a failed load had in hand: it may be the very model that is too large."""
    freed: list[BaseException] = []
    # One may be its own cause.
    while error is not None and error not in freed:
        freed.append(error)
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def again(error: StokerError) -> StokerError:
    """Copy an error: one that is raised twice would gather both tracebacks."""
    copy = type(error)(error.message, error.details)
    copy.__cause__ = error.__cause__
    return copy
