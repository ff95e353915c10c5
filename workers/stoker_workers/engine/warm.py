"""Loaded models, kept warm: each loaded once, the one unused for longest given up first."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Final

from stoker_config.serving import ModelState
from stoker_tasks.errors import ModelLoadFailed, StokerError
from stoker_workers.engine.lending import Entry
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.progress import Progress
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
    run out, and whoever wants them meanwhile waits.

    Args:
        load: Loads a model. Runs on the loader thread.
        limit: How many models are kept warm.
        memory: How many bytes they may take together; any number if None.
        free: Gives the bytes that the device has free, where it is known to be more exact.
        release: Gives back the memory of what was given up.
        retry_after: Seconds before a model that failed to load is tried again.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        load: Callable[[ModelKey, Progress], WarmModel],
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
        while True:
            key = self._wanted.get()
            if key is None:
                self._sweep()
            else:
                self._load_next(key)
            self.tell()

    def _sweep(self) -> None:
        """Give up those that are leaving and no longer in use."""
        with self._lock:
            gone = self._shelf.sweep()
        if gone:
            self._release()

    def _load_next(self, key: ModelKey) -> None:
        with self._lock:
            entry = self._shelf.entries[key]
            # Before loading, so that the memory is free by then.
            swap = self._shelf.give_up(leaving=self._limit - 1)
        loading = _Loading(self, key, entry)
        loading.is_swap = swap
        model: WarmModel | None = None
        try:
            # One that is leaving was asked for again before its last job was done.
            loading.wait_until_gone()
            loading.step("loading")
            model = self._load(key, loading)
        except StokerError as raised:
            error: StokerError = raised
        except Exception as raised:  # noqa: BLE001 - whatever it is, the thread must go on
            error = ModelLoadFailed(f"{key.model} could not be loaded: {type(raised).__name__}")
            error.__cause__ = raised
        with self._lock:
            waiting, entry.waiting = entry.waiting, []
            if model is not None:
                entry.model, entry.since, entry.failures = model, self._clock(), 0
                entry.cost = entry.since - loading.began
                entry.fresh_until = entry.since + FRESH_FOR
                lent = entry.lend(self._sweep_soon)
            else:
                entry.error, entry.failed_at, entry.size = error, self._clock(), 0
                entry.failures += 1
                self._shelf.forget_failures()
        if model is not None and loading.is_swap:
            self._pay(key, entry.cost)
        for future in waiting:
            if model is not None:
                future.set_result(lent)
            else:
                future.set_exception(_again(error))

    def _make_room(self, key: ModelKey, size: int) -> bool:
        """Give models up until there is room; tell whether there were any."""
        swap = False
        while True:
            with self._lock:
                short = self._shelf.shortage(key, size)
                free = self._free()
                wanting = max(short, 0 if free is None else size - free)
                gone = self._shelf.part(key, wanting, hard=short)
            swap = swap or bool(gone) or short > 0
            if gone:
                self._release()
            elif short <= 0:
                return swap
            else:
                time.sleep(_POLL)


class _Loading:
    """The progress of one load.

    Attributes:
        began: When it had room to begin.
        is_swap: Whether others were given up for it.
    """

    def __init__(self, models: WarmModels, key: ModelKey, entry: Entry) -> None:
        self._models = models
        self._key = key
        self._entry = entry
        self.began = models._clock()
        self.is_swap = False

    def step(self, what: str) -> None:
        self._entry.step = what
        self._models.tell()

    def make_room(self, size: int) -> None:
        self.step("making room")
        self._entry.size = size
        self.is_swap = self._models._make_room(self._key, size) or self.is_swap
        self.began = self._models._clock()
        self.step("loading")

    def took(self, size: int) -> None:
        self._entry.size = size

    def wait_until_gone(self) -> None:
        while self._entry.model is not None:
            self._models._sweep()
            time.sleep(_POLL)


def _again(error: StokerError) -> StokerError:
    """Copy an error: one that is raised twice would gather both tracebacks."""
    copy = type(error)(error.message, error.details)
    copy.__cause__ = error.__cause__
    return copy
