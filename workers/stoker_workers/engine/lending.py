"""What is known of one model, and how it is lent: in use for as long as a job holds it."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from stoker_tasks.errors import StokerError
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk, Ended, Follow, Output, Prepared, WarmModel


class _Lent:
    """A warm model in the hands of a job. As long as one exists, its model is in use."""

    __slots__ = ("__weakref__", "_model")

    def __init__(self, model: WarmModel) -> None:
        self._model = model

    @property
    def name(self) -> str:
        return self._model.name

    def is_slow(self, job: Job) -> bool:
        return self._model.is_slow(job)

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        return self._model.preprocess(job, media)

    def forward(
        self,
        chunks: Sequence[Chunk],
        ended: Ended | None = None,
        follow: Sequence[Follow | None] = (),
    ) -> Sequence[Any]:
        return self._model.forward(chunks, ended, follow)

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        return self._model.postprocess(job, prepared, outputs)


@dataclass(slots=True)
class Entry:
    """What is known of one key: it is being loaded, warm, or failed to load.

    Attributes:
        model: The model, once it is warm.
        lent: The model as it was last lent, as long as a job holds it.
        fresh_until: Until when it counts as in use though no job has taken it yet.
        since: When it became warm.
        cost: Seconds that its loading took, from when it had room.
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
    cost: float = 0.0
    used: float = 0.0
    size: int = 0
    leaving: bool = False
    waiting: list["Future[WarmModel]"] = field(default_factory=list)
    step: str = ""
    error: StokerError | None = None
    failures: int = 0
    failed_at: float = 0.0

    def in_use(self, now: float) -> bool:
        """Whether a job holds it, or may be about to."""
        held = self.lent is not None and self.lent() is not None
        return held or now < self.fresh_until

    def lend(self, released: Callable[[], None]) -> WarmModel:
        """Hand out the warm model.

        Args:
            released: Is called when nobody holds it any more, if it is leaving by then.
        """
        lent = self.lent() if self.lent is not None else None
        if lent is None:
            assert self.model is not None
            lent = _Lent(self.model)
            self.lent = weakref.ref(lent, lambda _: released() if self.leaving else None)
        return lent

    def empty(self) -> None:
        """Let go of the model."""
        self.model, self.lent, self.size, self.leaving = None, None, 0, False
