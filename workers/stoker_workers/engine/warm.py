"""Loaded models, kept warm: each loaded once, the one unused for longest given up first."""

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final

from stoker_config.serving import ModelState
from stoker_config.sizes import in_words
from stoker_tasks.errors import ModelLoadFailed, StokerError
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk, Ended, ModelKey, Output, Prepared, WarmModel
from stoker_workers.engine.progress import Progress

# Seconds for which a model that failed to load is not tried again: long enough that a queue full
# of jobs for it does not keep the worker loading, short enough that a mended one is soon served.
# Each further failure doubles it.
RETRY_AFTER: Final = 10.0
_LONGEST_RETRY: Final = 300.0

# Seconds for which a model that was just loaded counts as in use, until a job takes it: else the
# next load could give it up before it served once.
FRESH_FOR: Final = 10.0

# Seconds for which a model that others want the memory of serves before it takes no more jobs:
# two models that do not fit together would else spend their time on being loaded.
TURN: Final = 5.0

_POLL: Final = 0.02
# How many failures are told to those who look on, and how much of each.
_FAILURES_TOLD: Final = 10
_REASON: Final = 200


class _Lent:
    """A warm model in the hands of a job. As long as one exists, its model is in use."""

    __slots__ = ("__weakref__", "_model")

    def __init__(self, model: WarmModel) -> None:
        self._model = model

    @property
    def name(self) -> str:
        return self._model.name

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        return self._model.preprocess(job, media)

    def forward(self, chunks: Sequence[Chunk], ended: Ended | None = None) -> Sequence[Any]:
        return self._model.forward(chunks, ended)

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        return self._model.postprocess(job, prepared, outputs)


@dataclass(slots=True)
class _Entry:
    """What is known of one key: it is being loaded, warm, or failed to load.

    Attributes:
        model: The model, once it is warm.
        lent: The model as it was last lent, as long as a job holds it.
        fresh_until: Until when it counts as in use though no job has taken it yet.
        since: When it became warm.
        used: When it was last asked for, in seconds since the epoch.
        size: The bytes that it takes.
        leaving: Whether it takes no more jobs and is given up when it is no longer in use.
        waiting: Who waits for it to be loaded.
        step: What its loader does now.
        error: Why it could not be loaded.
        failures: How often in a row.
        failed_at: When that was last.
    """

    model: WarmModel | None = None
    lent: "weakref.ref[_Lent] | None" = None
    fresh_until: float = 0.0
    since: float = 0.0
    used: float = 0.0
    size: int = 0
    leaving: bool = False
    waiting: list["Future[WarmModel]"] = field(default_factory=list)
    step: str = ""
    error: StokerError | None = None
    failures: int = 0
    failed_at: float = 0.0

    def in_use(self, now: float) -> bool:
        held = self.lent is not None and self.lent() is not None
        return held or now < self.fresh_until

    def lend(self, released: Callable[[], None]) -> _Lent:
        lent = self.lent() if self.lent is not None else None
        if lent is None:
            assert self.model is not None
            lent = _Lent(self.model)
            self.lent = weakref.ref(lent, lambda _: released() if self.leaving else None)
        return lent

    def empty(self) -> None:
        self.model, self.lent, self.size, self.leaving = None, None, 0, False


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
        self._memory = memory
        self._free = free
        self._release = release
        self._retry_after = retry_after
        self._clock = clock
        self._lock = threading.Lock()
        # From the one unused for longest to the one asked for last.
        self._entries: OrderedDict[ModelKey, _Entry] = OrderedDict()
        self._pinned: set[ModelKey] = set()
        # None: a model that is to be given up is no longer in use. Its `put` may be called from a
        # weak reference's callback, where no lock may be taken.
        self._wanted: SimpleQueue[ModelKey | None] = SimpleQueue()
        self._loader: threading.Thread | None = None
        self._changed: Callable[[], None] = lambda: None

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
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            entry.used = time.time()
            if entry.model is not None and not entry.leaving:
                entry.fresh_until = 0.0
                lent = entry.lend(self._sweep_soon)
            elif entry.error is not None and not self._is_over(entry):
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
            self._pinned.update(keys)

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
            found = [key for key in self._warm() if wanted(key)]
            for key in found:
                self._pinned.discard(key)
                self._entries[key].leaving, self._entries[key].fresh_until = True, 0.0
        self._sweep_soon()
        return found

    def loaded(self) -> list[ModelKey]:
        """List the warm models, the one asked for last at the end."""
        with self._lock:
            return self._warm()

    def states(self) -> tuple[ModelState, ...]:
        """Say where each model stands, the one asked for last at the end."""
        with self._lock:
            failed = [key for key, entry in self._entries.items() if entry.error is not None]
            untold = set(failed[:-_FAILURES_TOLD])
            return tuple(
                self._state(key, entry) for key, entry in self._entries.items() if key not in untold
            )

    def _state(self, key: ModelKey, entry: _Entry) -> ModelState:
        state, step = "warm", "until its jobs are done" if entry.leaving else ""
        if entry.model is None:
            loading = entry.error is None
            state, step = (
                ("loading", entry.step) if loading else ("failed", str(entry.error)[:_REASON])
            )
        return ModelState(
            model=entry.model.name if entry.model else _written(key),
            name=key.listed,
            task=key.task,
            state="leaving" if entry.leaving else state,
            step=step,
            memory=entry.size,
            used=entry.used,
            pinned=key in self._pinned,
        )

    def _warm(self) -> list[ModelKey]:
        return [key for key, entry in self._entries.items() if entry.model is not None]

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
            now = self._clock()
            leaving = [key for key in self._warm() if self._entries[key].leaving]
            gone = [key for key in leaving if not self._entries[key].in_use(now)]
            for key in gone:
                self._drop(key)
        if gone:
            self._release()

    def _load_next(self, key: ModelKey) -> None:
        with self._lock:
            entry = self._entries[key]
            # Before loading, so that the memory is free by then.
            self._give_up(leaving=self._limit - 1)
        loading = _Loading(self, key, entry)
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
                entry.fresh_until = entry.since + FRESH_FOR
                lent = entry.lend(self._sweep_soon)
            else:
                entry.error, entry.failed_at, entry.size = error, self._clock(), 0
                entry.failures += 1
                self._forget_failures()
        for future in waiting:
            if model is not None:
                future.set_result(lent)
            else:
                future.set_exception(_again(error))

    def _give_up(self, leaving: int) -> None:
        """Give up models, the one unused for longest first, until so many are left."""
        warm, now = self._warm(), self._clock()
        surplus = len(warm) - leaving
        for key in warm:
            if surplus <= 0:
                break
            if key not in self._pinned and not self._entries[key].in_use(now):
                self._drop(key)
                surplus -= 1

    def _make_room(self, key: ModelKey, size: int) -> None:
        while True:
            with self._lock:
                short = self._shortage(key, size)
                free = self._free()
                gone = self._part(key, max(short, 0 if free is None else size - free), hard=short)
            if gone:
                self._release()
            elif short <= 0:
                return
            else:
                time.sleep(_POLL)

    def _shortage(self, key: ModelKey, size: int) -> int:
        """Say how many bytes are wanting to load so many more."""
        if self._memory is None:
            return 0
        others = [(each, entry.size) for each, entry in self._entries.items() if each != key]
        kept = sum(taken for each, taken in others if each in self._pinned)
        if kept + size > self._memory:
            pinned = f", of which pinned models have {in_words(kept)}" if kept else ""
            raise ModelLoadFailed(
                f"{key.model} takes {in_words(size)} of memory, and models may take "
                f"{in_words(self._memory)} together (STOKER_MODEL_MEMORY){pinned}: use a smaller "
                "or quantised model, or a larger device",
                {"memory": size, "limit": self._memory, "pinned": kept},
            )
        return sum(taken for _, taken in others) + size - self._memory

    def _part(self, key: ModelKey, short: int, *, hard: int) -> bool:
        """Give up unused models until so many bytes are free; let those in use run out.

        Args:
            key: What the room is for.
            short: How many bytes are wanting.
            hard: How many of these it cannot do without.

        Returns:
            Whether a model was given up.
        """
        now, gone = self._clock(), 0
        able = [each for each in self._warm() if each != key and each not in self._pinned]
        for each in able:
            if gone < short and not self._entries[each].in_use(now):
                gone += self._entries[each].size
                self._drop(each)
        hard -= gone
        for each in able:
            entry = self._entries.get(each)
            if hard > 0 and entry is not None and entry.model is not None:
                hard -= entry.size
                if entry.fresh_until <= now and entry.since + TURN <= now:
                    entry.leaving = True
        return gone > 0

    def _drop(self, key: ModelKey) -> None:
        self._entries[key].empty()
        if not self._entries[key].waiting:
            del self._entries[key]

    def _forget_failures(self) -> None:
        """Drop what is no longer of use, so that made-up model names do not fill the memory."""
        over = [key for key, entry in self._entries.items() if self._is_over(entry, times=2)]
        for key in over:
            del self._entries[key]

    def _is_over(self, entry: _Entry, times: int = 1) -> bool:
        """Whether a failure is old enough to be tried again; not so while that is under way."""
        pause = min(self._retry_after * 2 ** max(entry.failures - 1, 0), _LONGEST_RETRY)
        return (
            entry.error is not None
            and not entry.waiting
            and self._clock() - entry.failed_at >= times * pause
        )


class _Loading:
    """The progress of one load."""

    def __init__(self, models: WarmModels, key: ModelKey, entry: _Entry) -> None:
        self._models = models
        self._key = key
        self._entry = entry

    def step(self, what: str) -> None:
        self._entry.step = what
        self._models.tell()

    def make_room(self, size: int) -> None:
        self.step("making room")
        self._entry.size = size
        self._models._make_room(self._key, size)
        self.step("loading")

    def took(self, size: int) -> None:
        self._entry.size = size

    def wait_until_gone(self) -> None:
        while self._entry.model is not None:
            self._models._sweep()
            time.sleep(_POLL)


def _written(key: ModelKey) -> str:
    return f"{key.model}@{key.revision}" if key.revision else key.model


def _again(error: StokerError) -> StokerError:
    """Copy an error: one that is raised twice would gather both tracebacks."""
    copy = type(error)(error.message, error.details)
    copy.__cause__ = error.__cause__
    return copy
