"""Fetches what jobs only name, beside the line: some at a time, and no place holds up the others.

What is fetched for a job stays in memory from here until the job is read or preprocessed, so that
no more jobs are fetched for than may hold theirs at once.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

_THREADS: Final = 16
# Of these, for one place at most, slow as it may be.
_A_PLACE: Final = 4


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be fetched for one job.

    Attributes:
        place: Where it lies: a host, say.
        fetch: Fetches it, and may raise instead.
    """

    place: str
    fetch: Callable[[], Any]


class Fetching:
    """A few threads that fetch, and the jobs that wait for them.

    Args:
        name: What the threads are called after.
        threads: How many jobs may be fetched for, or hold what was fetched, at once.
        a_place: How many of these from one place.
        wide: How many from those places that take more.
    """

    def __init__(
        self,
        name: str = "fetch",
        threads: int = _THREADS,
        a_place: int = _A_PLACE,
        wide: Mapping[str, int] | None = None,
    ) -> None:
        self._name = name
        self._threads = threads
        self._a_place = a_place
        self._wide = wide or {}
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Errand, Future[Any]]] = deque()
        self._places: Counter[str] = Counter()
        self._held = 0
        self._started = 0
        self._stopping = False
        self._hushed = False

    def get(self, errand: Errand) -> "Future[Any]":
        """Fetch for a job. Never blocks; once what came is used, `release` has to be called.

        Args:
            errand: What, and how.

        Returns:
            What `errand.fetch` gives or raises, in time.

        Raises:
            RuntimeError: No thread can be started, and there is none yet.
        """
        future: Future[Any] = Future()
        with self._changed:
            # Most workers fetch nothing: a thread is started when there is work for it.
            if self._started < min(self._threads, len(self._waiting) + 1 + self._held):
                self._start()
            self._waiting.append((errand, future))
            self._changed.notify()
        return future

    def take_back(self, future: "Future[Any]") -> bool:
        """Fetch nothing for a job after all; False if that has begun: it comes to its end."""
        with self._changed:
            for at, (_, waiting) in enumerate(self._waiting):
                if waiting is future:
                    del self._waiting[at]
                    return True
        return False

    def release(self) -> None:
        """Make room for the next job: one that was fetched for holds nothing of it any longer."""
        with self._changed:
            self._held -= 1
            self._changed.notify_all()

    def hush(self) -> None:
        """Begin nothing until `resume`; wait for what is being fetched, unless it is to stop."""
        with self._changed:
            self._hushed = True
            self._changed.wait_for(lambda: not self._places or self._stopping)

    def resume(self) -> None:
        """Begin again."""
        with self._changed:
            self._hushed = False
            self._changed.notify_all()

    def stop(self) -> None:
        """Start nothing more; what is being fetched comes to its end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait until nothing is fetched any more; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._places, timeout)

    def _start(self) -> None:
        name = f"stoker-{self._name}-{self._started + 1}"
        try:
            threading.Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError:
            if not self._started:
                raise
        else:
            self._started += 1

    def _run(self) -> None:
        while self._fetch_next():
            pass

    def _fetch_next(self) -> bool:
        """Fetch for one job; False once it is to stop.

        A frame of its own: a thread that waits for the next job keeps nothing of the last one, be
        it its files or the model that it held.
        """
        with self._changed:
            chosen = None
            while not self._stopping and (chosen := self._choose()) is None:
                self._changed.wait()
            if chosen is None:
                return False
        errand, future = chosen
        place = errand.place
        try:
            found = errand.fetch()
        except BaseException as error:  # noqa: BLE001 - it is the job's, wherever it is read
            future.set_exception(error)
        else:
            future.set_result(found)
        finally:
            # The future has the error, and its traceback this frame: with the future at hand here,
            # the job and its model would stay until Python next looks for cycles.
            del chosen, errand, future
        with self._changed:
            self._places[place] -= 1
            # Whoever names hosts may name many.
            if not self._places[place]:
                del self._places[place]
            self._changed.notify_all()
        return True

    def _choose(self) -> "tuple[Errand, Future[Any]] | None":
        """Take the job that has waited longest of those whose place is not busy with others."""
        if self._hushed or self._held >= self._threads:
            return None
        for at, (errand, future) in enumerate(self._waiting):
            if self._places[errand.place] < self._wide.get(errand.place, self._a_place):
                del self._waiting[at]
                self._places[errand.place] += 1
                self._held += 1
                return errand, future
        return None
