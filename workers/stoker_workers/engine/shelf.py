"""Where warm models are kept, and which of them go when another wants their room."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from stoker_config.serving import ModelState
from stoker_config.sizes import in_words
from stoker_tasks.errors import ModelLoadFailed
from stoker_workers.engine.claims import Claims
from stoker_workers.engine.lending import Entry
from stoker_workers.engine.model import ModelKey

# Seconds for which a model that failed to load is not tried again: long enough that a queue full
# of jobs for it does not keep the worker loading, short enough that a mended one is soon served.
# Each further failure doubles it.
RETRY_AFTER: Final = 10.0
_LONGEST_RETRY: Final = 300.0
_DOUBLINGS: Final = 64

# Seconds for which a model that others want the memory of serves before it takes no more jobs, and
# for how many times as long as its loading took: two models that do not fit together spend at most
# a fifth of the time on being loaded. But whoever waits is not to wait for ever.
TURN: Final = 5.0
_PAID: Final = 4.0
_LONGEST_TURN: Final = 120.0

# Of how many models it remembers whether their loading may kill the process.
_SUSPECTS: Final = 1000

# How many failures are told to those who look on, and how much of each.
_FAILURES_TOLD: Final = 10
_REASON: Final = 200


class Shelf:
    """What is known of a worker's models. Not safe for threads: whoever uses it holds its lock.

    Args:
        memory: How many bytes warm models may take together; any number if None.
        retry_after: Seconds before a model that failed to load is tried again.
        clock: Monotonic seconds.

    Attributes:
        lock: For whoever uses it.
        entries: By key, from the one unused for longest to the one asked for last.
        pinned: Those that only an operator gives up.
        claims: The loads that wait for memory.
    """

    def __init__(self, memory: int | None, retry_after: float, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._retry_after = retry_after
        self._clock = clock
        self.lock = threading.Lock()
        self.entries: OrderedDict[ModelKey, Entry] = OrderedDict()
        self.pinned: set[ModelKey] = set()
        self.claims = Claims()
        # Whether a model may kill who loads it: not if it was loaded here before. The one that was
        # heard of last at the end. They outlive what is known of failures.
        self._suspects: OrderedDict[ModelKey, bool] = OrderedDict()

    def ask(self, key: ModelKey) -> Entry:
        """Give what is known of a model, which counts as asked for last from now on."""
        entry = self.entries.setdefault(key, Entry())
        self.entries.move_to_end(key)
        entry.used = time.time()
        return entry

    def suspect(self, key: ModelKey) -> None:
        """Note that a model may kill the process that loads it, until it has been loaded."""
        self._judge(key, self._suspects.get(key, True))

    def clear(self, key: ModelKey) -> None:
        """Note that a model was loaded, and killed nobody."""
        self._judge(key, False)

    def is_suspect(self, key: ModelKey) -> bool:
        """Whether a model may kill the process that loads it."""
        return self._suspects.get(key, False)

    def warm(self) -> list[ModelKey]:
        """List the warm models, the one asked for last at the end."""
        return [key for key, entry in self.entries.items() if entry.model is not None]

    def states(self) -> tuple[ModelState, ...]:
        """Say where each model stands, the one asked for last at the end."""
        failed = [key for key, entry in self.entries.items() if entry.error is not None]
        untold = set(failed[:-_FAILURES_TOLD])
        return tuple(
            self._state(key, entry) for key, entry in self.entries.items() if key not in untold
        )

    def leave(self, keys: Iterable[ModelKey]) -> None:
        """Have warm models take no more jobs, and go when they are no longer in use."""
        for key in keys:
            self.pinned.discard(key)
            self.entries[key].leaving, self.entries[key].fresh_until = True, 0.0

    def sweep(self) -> bool:
        """Give up those that are leaving and no longer in use; tell whether there were any."""
        now = self._clock()
        leaving = [key for key in self.warm() if self.entries[key].leaving]
        gone = [key for key in leaving if not self.entries[key].in_use(now)]
        for key in gone:
            self._drop(key)
        return bool(gone)

    def give_up(self, leaving: int) -> bool:
        """Give up models, the one unused for longest first, until so many are left.

        Returns:
            Whether there were any.
        """
        warm, now = self.warm(), self._clock()
        surplus = len(warm) - leaving
        gone = False
        for key in warm:
            if surplus <= 0:
                break
            if key not in self.pinned and not self.entries[key].in_use(now):
                self._drop(key)
                surplus -= 1
                gone = True
        return gone

    def shortage(self, key: ModelKey, size: int) -> int:
        """Say how many bytes are wanting to load so many more."""
        if self._memory is None:
            return 0
        others = [(each, entry.size) for each, entry in self.entries.items() if each != key]
        kept = sum(taken for each, taken in others if each in self.pinned)
        if kept + size > self._memory:
            pinned = f", of which pinned models have {in_words(kept)}" if kept else ""
            raise ModelLoadFailed(
                f"{key.model} takes {in_words(size)} of memory, and models may take "
                f"{in_words(self._memory)} together (STOKER_MODEL_MEMORY){pinned}: use a smaller "
                "or quantised model, or a larger device",
                {"memory": size, "limit": self._memory, "pinned": kept},
            )
        return sum(taken for _, taken in others) + size - self._memory

    def may_pass(self, key: ModelKey) -> bool:
        """Whether a load that waits for memory leaves their room to those that came before it."""

        def kept(passed: set[ModelKey]) -> int:
            return sum(
                entry.size
                for each, entry in self.entries.items()
                if each != key and (each in passed or each in self.pinned)
            )

        return self._memory is None or self.claims.may_pass(key, self._memory, kept)

    def part(self, key: ModelKey, short: int, *, hard: int) -> bool:
        """Give up unused models until so many bytes are free; let those in use run out.

        Unused ones stay warm as long as it would take others as well, and only for the load that
        has waited longest are others let run out.

        Args:
            key: What the room is for.
            short: How many bytes are wanting.
            hard: How many of these it cannot do without.

        Returns:
            Whether a model was given up.
        """
        now, gone = self._clock(), 0
        able = [each for each in self.warm() if each != key and each not in self.pinned]
        unused = [each for each in able if not self.entries[each].in_use(now)]
        hard -= sum(self.entries[each].size for each in unused)
        if hard > 0:
            if self.claims.is_first(key):
                self._let_run_out(key, [each for each in able if each not in unused], hard)
            return False
        for each in unused:
            if gone < short:
                gone += self.entries[each].size
                self._drop(each)
        return gone > 0

    def _let_run_out(self, key: ModelKey, used: list[ModelKey], hard: int) -> None:
        """Have models in use take no more jobs until those that do not are as large as is wanted.

        Those that are leaving anyway come first; those that have left the room free, last.
        """
        now, claim = self._clock(), self.claims.of(key)
        passed = claim.passed if claim else set()
        for each in sorted(used, key=lambda each: (not self.entries[each].leaving, each in passed)):
            entry = self.entries[each]
            if hard > 0:
                hard -= entry.size
                if entry.fresh_until <= now and entry.since + _turn(entry) <= now:
                    entry.leaving = True

    def forget_failures(self) -> None:
        """Drop what is no longer of use, so that made-up model names do not fill the memory."""
        over = [key for key, entry in self.entries.items() if self.is_over(entry, times=2)]
        for key in over:
            del self.entries[key]

    def is_over(self, entry: Entry, times: int = 1) -> bool:
        """Whether a failure is old enough to be tried again; not so while that is under way."""
        doublings = min(max(entry.failures - 1, 0), _DOUBLINGS)
        pause = min(self._retry_after * 2**doublings, _LONGEST_RETRY)
        return (
            entry.error is not None
            and not entry.waiting
            and self._clock() - entry.failed_at >= times * pause
        )

    def _state(self, key: ModelKey, entry: Entry) -> ModelState:
        state, step = "warm", "until its jobs are done" if entry.leaving else ""
        if entry.model is None:
            loading = entry.error is None
            state, step = (
                ("loading", entry.step) if loading else ("failed", str(entry.error)[:_REASON])
            )
        claim = self.claims.of(key)
        return ModelState(
            model=entry.model.name if entry.model else _written(key),
            name=key.listed,
            task=key.task,
            state="leaving" if entry.leaving else state,
            step=step,
            memory=claim.size if claim else entry.size,
            used=entry.used,
            pinned=key in self.pinned,
        )

    def _judge(self, key: ModelKey, suspect: bool) -> None:
        self._suspects[key] = suspect
        self._suspects.move_to_end(key)
        if len(self._suspects) > _SUSPECTS:
            self._suspects.popitem(last=False)

    def _drop(self, key: ModelKey) -> None:
        self.entries[key].empty()
        if not self.entries[key].waiting:
            del self.entries[key]


def _turn(entry: Entry) -> float:
    return min(max(TURN, _PAID * entry.cost), _LONGEST_TURN)


def _written(key: ModelKey) -> str:
    return f"{key.model}@{key.revision}" if key.revision else key.model
