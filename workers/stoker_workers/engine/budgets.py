"""The batch budget of each model: what its probe learned, kept so that a restart need not probe."""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.probe import Learned
from stoker_workers.engine.window import Budget

logger = logging.getLogger(__name__)


class Budgets:
    """The budgets of one device. Safe for threads.

    Args:
        default: The budget of a model of which nothing is known.
        file: Where learned budgets are kept between runs; nowhere if None.
    """

    def __init__(self, default: Budget, file: Path | None = None) -> None:
        self._default = default
        self._file = file
        self._lock = threading.Lock()
        self._learned: dict[ModelKey, Learned] = {}
        self._caps: dict[ModelKey, int] = {}

    def overflowed(self, model: ModelKey, tokens: int) -> None:
        """Note that a batch of so many padded tokens did not fit into memory: half is tried next.

        It is forgotten with the process: what else was in memory may be gone by then.
        """
        with self._lock:
            cap = max(1, min(tokens // 2, self._caps.get(model, tokens)))
            self._caps[model] = cap
        logger.warning("%s: a batch did not fit into memory; at most %d tokens", model.model, cap)

    def of(self, model: ModelKey) -> Budget:
        """Give a model's budget."""
        with self._lock:
            learned, cap = self._learned.get(model), self._caps.get(model)
        budget = self._default if learned is None else self._within(learned)
        return budget if cap is None else replace(budget, tokens=min(budget.tokens, cap))

    @property
    def floor(self) -> int:
        """The padded tokens that a budget has however few a probe finds best.

        A probe that was disturbed by its neighbours on the machine must not spoil all batches. What
        it has found to be slower than rows alone is another matter, so it has to look so far.
        """
        return self._default.tokens // 2

    def _within(self, learned: Learned) -> Budget:
        usual = self._default
        tokens = min(max(learned.tokens, self.floor), usual.tokens * 4)
        overhead = min(max(learned.overhead, usual.overhead // 4), usual.overhead * 4)
        if learned.most is not None:
            tokens = min(tokens, learned.most)
            overhead = min(overhead, learned.overhead)
        return replace(usual, tokens=tokens, overhead=overhead)

    def learn(self, model: ModelKey, name: str, probe: Callable[[], Learned | None]) -> None:
        """Have a model's budget learned, unless that is known from an earlier run.

        Args:
            model: The model.
            name: What its budget is kept under: model, commit, device and versions.
            probe: Finds it out.
        """
        kept = self._read()
        learned = kept.get(name) or probe()
        if learned is None:
            return
        with self._lock:
            self._learned[model] = learned
        if name not in kept:
            logger.info(
                "%s: best batch %d tokens, a pass starts in the time of %d",
                name,
                learned.tokens,
                learned.overhead,
            )
            self._write({**kept, name: learned})

    def _read(self) -> dict[str, Learned]:
        if self._file is None:
            return {}
        # A file that is missing, or of another version, only costs a probe.
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            return {name: Learned(**fields) for name, fields in kept.items()}
        return {}

    def _write(self, kept: dict[str, Learned]) -> None:
        if self._file is None:
            return
        text = json.dumps({name: asdict(learned) for name, learned in kept.items()}, indent=1)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # Another worker may be writing: the last one wins, and no reader sees half a file.
            part = self._file.with_suffix(f".{os.getpid()}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(self._file)
        except OSError as error:
            logger.warning("learned budgets could not be kept: %s", type(error).__name__)
