"""A worker whose model keeps each job that it has seen: a soak must catch it."""

from collections.abc import Mapping
from typing import Final

from benchmarks import noop_worker
from benchmarks.noop_worker import NoopModel, app
from stoker_tasks.job import Job
from stoker_workers.engine.model import Prepared

__all__ = ["app"]

_seen: Final[list[Job]] = []


class _KeepingModel(NoopModel):
    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        _seen.append(job)
        return super().preprocess(job, media)


noop_worker.NoopModel = _KeepingModel  # type: ignore[misc]
