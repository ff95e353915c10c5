"""Loaded models, kept warm: each loaded once, the one unused for longest given up first."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from stoker_config.serving import ModelState
from stoker_workers.engine.loader import Loader, again
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.progress import Course, Progress
from stoker_workers.engine.shelf import RETRY_AFTER, Shelf


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
        self._shelf = Shelf(memory, retry_after, clock)
        self._loader = Loader(
            self._shelf,
            load,
            limit,
            free=free,
            release=release,
            tell=self.tell,
            charge=lambda model, seconds: self._pay(model, seconds),
            clock=clock,
        )
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

    def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
        """Give a model, loading it first if it is not warm. Never blocks.

        The model counts as in use for as long as the caller holds what the future gives.

        Args:
            key: What it is loaded by.
            wary: Whether its load may kill the process: `load` is told so, if it is not at work
                yet, and each time that it is called again until the model has been loaded.

        Returns:
            The model; or `UnknownModel`, `ModelLoadFailed` or another `StokerError`. For some time
            after it has failed to load, it fails at once with the same error.
        """
        future: Future[WarmModel] = Future()
        with self._shelf.lock:
            entry = self._shelf.ask(key)
            if entry.model is not None and not entry.leaving:
                entry.fresh_until = 0.0
                lent = entry.lend(self._loader.sweep_soon)
            elif entry.error is not None and not self._shelf.is_over(entry):
                future.set_exception(again(entry.error))
                return future
            else:
                if wary:
                    self._shelf.suspect(key)
                entry.waiting.append(future)
                if len(entry.waiting) == 1:
                    entry.error, entry.step = None, "waiting"
                    self._loader.want(key)
                return future
        future.set_result(lent)
        return future

    def pin(self, keys: Iterable[ModelKey]) -> None:
        """Keep models once they are loaded, until an operator evicts them."""
        with self._shelf.lock:
            self._shelf.pinned.update(keys)

    def preload(self, keys: Iterable[ModelKey]) -> None:
        """Load models and wait for them: without end, if there is `trouble`.

        Raises:
            StokerError: One of them cannot be loaded.
        """
        for future in [self.get(key) for key in keys]:
            future.result()

    def trouble(self, hang_seconds: float) -> str | None:
        """Say why no model can be loaded any more; None if it can.

        Args:
            hang_seconds: How long a step of a load may take until the device or the model's code
                counts as hung. Downloads, and waiting for room, may take any time.
        """
        return self._loader.trouble(hang_seconds)

    def evict(self, wanted: Callable[[ModelKey], bool]) -> list[ModelKey]:
        """Give up models, pinned or not; those in use when their jobs are done. Never blocks.

        Returns:
            Which these are.
        """
        with self._shelf.lock:
            found = [key for key in self._shelf.warm() if wanted(key)]
            self._shelf.leave(found)
        self._loader.sweep_soon()
        return found

    def loaded(self) -> list[ModelKey]:
        """List the warm models, the one asked for last at the end."""
        with self._shelf.lock:
            return self._shelf.warm()

    def states(self) -> tuple[ModelState, ...]:
        """Say where each model stands, the one asked for last at the end."""
        with self._shelf.lock:
            return self._shelf.states()
