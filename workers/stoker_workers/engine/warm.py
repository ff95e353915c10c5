"""Loaded models, kept warm: each loaded once, the one unused for longest given up first."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from traceback import clear_frames
from typing import Final

from stoker_config.serving import ModelState
from stoker_tasks.errors import ModelLoadFailed, StokerError
from stoker_workers.engine.lending import Entry
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.progress import Course, Progress
from stoker_workers.engine.shelf import RETRY_AFTER, Shelf

# Seconds for which a model that was just loaded counts as in use, until a job takes it: else the
# next load could give it up before it served once.
FRESH_FOR: Final = 10.0

_POLL: Final = 0.02


class WarmModels:
    """The warm models of one worker. Safe for threads.

    Models are loaded one after another, on a thread of their own. A model that a job holds is
    never given up, and one that is pinned only when an operator says so. While more models are in
    use at once than `limit`, more are warm; but `memory` is never passed: models in use are let
    run out, and whoever wants them meanwhile waits. A load that waits for memory is put aside, and
    others pass it that leave it its room (see `claims`).

    Args:
        load: Loads a model. Runs on the loader thread, which leaves it where it asks for memory.
        limit: How many models are kept warm.
        memory: How many bytes they may take together; any number if None.
        free: Gives the bytes that the device has free, where it is known to be more exact.
        release: Gives back the memory of what was given up.
        retry_after: Seconds before a model that failed to load is tried again.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        load: Callable[[ModelKey, Progress], Course],
        limit: int,
        *,
        memory: int | None = None,
        free: Callable[[], int | None] = lambda: None,
        release: Callable[[], None] = lambda: None,
        retry_after: float = RETRY_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._limit = limit
        self._free = free
        self._release = release
        self._clock = clock
        self._lock = threading.Lock()
        self._shelf = Shelf(memory, retry_after, clock)
        # None: a model that is to be given up is no longer in use. Its `put` may be called from a
        # weak reference's callback, where no lock may be taken.
        self._wanted: SimpleQueue[ModelKey | None] = SimpleQueue()
        self._loader: threading.Thread | None = None
        # The loader thread's own, the one that was asked for first before the others.
        self._loads: list[_Load] = []
        self._changed: Callable[[], None] = lambda: None
        self._pay: Callable[[ModelKey, float], None] = lambda _model, _seconds: None

    def charge(self, pay: Callable[[ModelKey, float], None]) -> None:
        """Have a call made for each model for which others went: which, and what its load cost."""
        self._pay = pay

    def listen(self, changed: Callable[[], None]) -> None:
        """Have a call made whenever a state has changed."""
        self._changed = changed

    def tell(self) -> None:
        """Make the call of `listen` now."""
        self._changed()

    def get(self, key: ModelKey) -> "Future[WarmModel]":
        """Give a model, loading it first if it is not warm. Never blocks.

        The model counts as in use for as long as the caller holds what the future gives.

        Returns:
            The model; or `UnknownModel`, `ModelLoadFailed` or another `StokerError`. For some time
            after it has failed to load, it fails at once with the same error.
        """
        future: Future[WarmModel] = Future()
        with self._lock:
            entry = self._shelf.ask(key)
            if entry.model is not None and not entry.leaving:
                entry.fresh_until = 0.0
                lent = entry.lend(self._sweep_soon)
            elif entry.error is not None and not self._shelf.is_over(entry):
                future.set_exception(_again(entry.error))
                return future
            else:
                entry.waiting.append(future)
                if len(entry.waiting) == 1:
                    entry.error, entry.step = None, "waiting"
                    self._ask_for(key)
                return future
        future.set_result(lent)
        return future

    def pin(self, keys: Iterable[ModelKey]) -> None:
        """Keep models once they are loaded, until an operator evicts them."""
        with self._lock:
            self._shelf.pinned.update(keys)

    def preload(self, keys: Iterable[ModelKey]) -> None:
        """Load models and wait for them.

        Raises:
            StokerError: One of them cannot be loaded.
        """
        for future in [self.get(key) for key in keys]:
            future.result()

    def evict(self, wanted: Callable[[ModelKey], bool]) -> list[ModelKey]:
        """Give up models, pinned or not; those in use when their jobs are done. Never blocks.

        Returns:
            Which these are.
        """
        with self._lock:
            found = [key for key in self._shelf.warm() if wanted(key)]
            self._shelf.leave(found)
        self._sweep_soon()
        return found

    def loaded(self) -> list[ModelKey]:
        """List the warm models, the one asked for last at the end."""
        with self._lock:
            return self._shelf.warm()

    def states(self) -> tuple[ModelState, ...]:
        """Say where each model stands, the one asked for last at the end."""
        with self._lock:
            return self._shelf.states()

    def _ask_for(self, key: ModelKey) -> None:
        self._wanted.put(key)
        if self._loader is None:
            # A daemon: a download that hangs must not keep the process from ending.
            self._loader = threading.Thread(
                target=self._load_wanted, name="stoker-loader", daemon=True
            )
            self._loader.start()

    def _sweep_soon(self) -> None:
        self._wanted.put(None)

    def _load_wanted(self) -> None:
        moved = False
        while True:
            asked = self._take_in(wait=not moved)
            gone = self._sweep()
            # Always from the first one on, so that none waits longer than for one step of another.
            moved = any(self._bring_on(load) for load in tuple(self._loads))
            if asked or gone or moved:
                self.tell()

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
                    with self._lock:
                        self._loads.append(_Load(key, self._shelf.entries[key], self.tell))
        except Empty:
            return asked

    def _sweep(self) -> bool:
        """Give up those that are leaving and no longer in use; tell whether there were any."""
        with self._lock:
            gone = self._shelf.sweep()
        if gone:
            self._release()
        return gone

    def _bring_on(self, load: "_Load") -> bool:
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
            with self._lock:
                # Before loading, so that the memory is free by then.
                load.is_swap |= self._shelf.give_up(leaving=self._limit - 1)
            load.began = self._clock()
            load.step("loading")
            size = next(load.course)
            with self._lock:
                self._shelf.claims.put(load.key, size)
            load.step("making room")
            return True
        except StopIteration as ended:
            outcome = ended.value
        except StokerError as raised:
            outcome = raised
        except BaseException as raised:  # noqa: BLE001 - whatever it is, the thread must go on
            outcome = ModelLoadFailed(
                f"{load.key.model} could not be loaded: {type(raised).__name__}"
            )
            outcome.__cause__ = raised
        self._loads.remove(load)
        self._end(load, outcome)
        return True

    def _has_room(self, load: "_Load") -> bool:
        """Give models up until a load has the memory it waits for; False if it has to wait on."""
        while True:
            with self._lock:
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

    def _end(self, load: "_Load", outcome: WarmModel | StokerError) -> None:
        entry = load.entry
        with self._lock:
            self._shelf.claims.drop(load.key)
            waiting, entry.waiting = entry.waiting, []
            if isinstance(outcome, StokerError):
                entry.error, entry.failed_at, entry.size = outcome, self._clock(), 0
                entry.failures += 1
                self._shelf.forget_failures()
            else:
                entry.model, entry.since, entry.failures = outcome, self._clock(), 0
                entry.cost = entry.since - load.began
                entry.fresh_until = entry.since + FRESH_FOR
                lent = entry.lend(self._sweep_soon)
        if isinstance(outcome, StokerError):
            _free_frames(outcome)
            for future in waiting:
                future.set_exception(_again(outcome))
            return
        if load.is_swap:
            self._pay(load.key, entry.cost)
        for future in waiting:
            future.set_result(lent)


class _Load:
    """One load, and the progress of it.

    Attributes:
        key: What is loaded.
        entry: What is known of it.
        course: The loader at work; None before it has begun.
        began: When it had room to begin.
        is_swap: Whether others were given up for it.
    """

    def __init__(self, key: ModelKey, entry: Entry, tell: Callable[[], None]) -> None:
        self.key = key
        self.entry = entry
        self.course: Course | None = None
        self.began = 0.0
        self.is_swap = False
        self._tell = tell

    def step(self, what: str) -> None:
        self.entry.step = what
        self._tell()

    def took(self, size: int) -> None:
        self.entry.size = size


def _free_frames(error: BaseException | None) -> None:
    """Free what a failed load had in hand: it may be the very model that is too large."""
    freed: list[BaseException] = []
    # One may be its own cause.
    while error is not None and error not in freed:
        freed.append(error)
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _again(error: StokerError) -> StokerError:
    """Copy an error: one that is raised twice would gather both tracebacks."""
    copy = type(error)(error.message, error.details)
    copy.__cause__ = error.__cause__
    return copy
