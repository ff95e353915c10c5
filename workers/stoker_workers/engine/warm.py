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

from stoker_tasks.errors import ModelLoadFailed, StokerError
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk, ModelKey, Output, Prepared, WarmModel

# Seconds for which a model that failed to load is not tried again: long enough that a queue full
# of jobs for it does not keep the worker loading, short enough that a mended one is soon served.
RETRY_AFTER: Final = 10.0

# Seconds for which a model that was just loaded counts as in use, until a job takes it: else the
# next load could give it up before it served once.
FRESH_FOR: Final = 10.0


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

    def forward(self, chunks: Sequence[Chunk]) -> Sequence[Any]:
        return self._model.forward(chunks)

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        return self._model.postprocess(job, prepared, outputs)


@dataclass(slots=True)
class _Entry:
    """What is known of one key: it is being loaded, warm, or failed to load.

    Attributes:
        model: The model, once it is warm.
        lent: The model as it was last lent, as long as a job holds it.
        fresh_until: Until when it counts as in use though no job has taken it yet.
        waiting: Who waits for it to be loaded.
        error: Why it could not be loaded.
        failed_at: When that was.
    """

    model: WarmModel | None = None
    lent: "weakref.ref[_Lent] | None" = None
    fresh_until: float = 0.0
    waiting: list["Future[WarmModel]"] = field(default_factory=list)
    error: StokerError | None = None
    failed_at: float = 0.0

    def in_use(self, now: float) -> bool:
        held = self.lent is not None and self.lent() is not None
        return held or now < self.fresh_until

    def lend(self) -> _Lent:
        lent = self.lent() if self.lent is not None else None
        if lent is None:
            assert self.model is not None
            lent = _Lent(self.model)
            self.lent = weakref.ref(lent)
        return lent


class WarmModels:
    """The warm models of one worker. Safe for threads.

    Models are loaded one after another, on a thread of their own. A model that a job holds, and
    one that is pinned, is never given up; so while more models are in use at once than `limit`,
    more are warm.

    Args:
        load: Loads a model. Runs on the loader thread.
        limit: How many models are kept warm.
        retry_after: Seconds before a model that failed to load is tried again.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        load: Callable[[ModelKey], WarmModel],
        limit: int,
        *,
        retry_after: float = RETRY_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._limit = limit
        self._retry_after = retry_after
        self._clock = clock
        self._lock = threading.Lock()
        # From the one unused for longest to the one asked for last.
        self._entries: OrderedDict[ModelKey, _Entry] = OrderedDict()
        self._pinned: set[ModelKey] = set()
        self._wanted: SimpleQueue[ModelKey] = SimpleQueue()
        self._loader: threading.Thread | None = None

    def get(self, key: ModelKey) -> "Future[WarmModel]":
        """Give a model, loading it first if it is not warm. Never blocks.

        The model counts as in use for as long as the caller holds what the future gives.

        Returns:
            The model; or `UnknownModel`, `ModelLoadFailed` or another `StokerError`. Within
            `retry_after` seconds a model that failed to load fails at once with the same error.
        """
        future: Future[WarmModel] = Future()
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            if entry.model is not None:
                entry.fresh_until = 0.0
                lent = entry.lend()
            elif entry.error is not None and not self._is_over(entry):
                future.set_exception(_again(entry.error))
                return future
            else:
                entry.waiting.append(future)
                if len(entry.waiting) == 1:
                    entry.error = None
                    self._ask_for(key)
                return future
        future.set_result(lent)
        return future

    def preload(self, keys: Iterable[ModelKey]) -> None:
        """Load models and wait for them; they are never given up.

        Raises:
            StokerError: One of them cannot be loaded.
        """
        keys = list(keys)
        with self._lock:
            self._pinned.update(keys)
        for future in [self.get(key) for key in keys]:
            future.result()

    def loaded(self) -> list[ModelKey]:
        """List the warm models, the one asked for last at the end."""
        with self._lock:
            return [key for key, entry in self._entries.items() if entry.model is not None]

    def _ask_for(self, key: ModelKey) -> None:
        self._wanted.put(key)
        if self._loader is None:
            # A daemon: a download that hangs must not keep the process from ending.
            self._loader = threading.Thread(
                target=self._load_wanted, name="stoker-loader", daemon=True
            )
            self._loader.start()

    def _load_wanted(self) -> None:
        while True:
            self._load_next(self._wanted.get())

    def _load_next(self, key: ModelKey) -> None:
        with self._lock:
            # Before loading, so that the memory is free by then.
            self._give_up(leaving=self._limit - 1)
        model: WarmModel | None = None
        try:
            model = self._load(key)
        except StokerError as raised:
            error: StokerError = raised
        except Exception as raised:  # noqa: BLE001 - whatever it is, the thread must go on
            error = ModelLoadFailed(f"{key.model} could not be loaded: {type(raised).__name__}")
            error.__cause__ = raised
        with self._lock:
            entry = self._entries[key]
            waiting, entry.waiting = entry.waiting, []
            if model is not None:
                entry.model, entry.fresh_until = model, self._clock() + FRESH_FOR
                lent = entry.lend()
            else:
                entry.error, entry.failed_at = error, self._clock()
                self._forget_failures()
        for future in waiting:
            if model is not None:
                future.set_result(lent)
            else:
                future.set_exception(_again(error))

    def _give_up(self, leaving: int) -> None:
        """Give up models, the one unused for longest first, until so many are left."""
        warm = [key for key, entry in self._entries.items() if entry.model is not None]
        surplus, now = len(warm) - leaving, self._clock()
        for key in warm:
            if surplus <= 0:
                break
            if key not in self._pinned and not self._entries[key].in_use(now):
                del self._entries[key]
                surplus -= 1

    def _forget_failures(self) -> None:
        """Drop what is no longer of use, so that made-up model names do not fill the memory."""
        over = [key for key, entry in self._entries.items() if self._is_over(entry)]
        for key in over:
            del self._entries[key]

    def _is_over(self, entry: _Entry) -> bool:
        """Whether a failure is old enough to be tried again; not so while that is under way."""
        return (
            entry.error is not None
            and not entry.waiting
            and self._clock() - entry.failed_at >= self._retry_after
        )


def _again(error: StokerError) -> StokerError:
    """Copy an error: one that is raised twice would gather both tracebacks."""
    copy = type(error)(error.message, error.details)
    copy.__cause__ = error.__cause__
    return copy
