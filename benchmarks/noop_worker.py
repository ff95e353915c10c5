"""A Stoker worker whose model does nothing: what is left is Stoker, Celery and Redis.

celery -A benchmarks.noop_worker worker
"""

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from benchmarks.peers.model import POISON
from stoker_config.settings import Settings, load_settings
from stoker_tasks.job import Job
from stoker_workers.app import make_worker_app
from stoker_workers.broker.step import Engine
from stoker_workers.engine.delivery import Outlet
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.model import Chunk, Ended, Follow, ModelKey, Output, Prepared, WarmModel
from stoker_workers.engine.payloads import Payloads
from stoker_workers.engine.window import Budget

_TASK = "text-classification"


class NoopModel:
    """Answers at once, unless a text says `sleep=SECONDS`; `poison` fails whatever it is in.

    The same as `benchmarks.peers.model.Noop`, in the three stages of the worker.
    """

    def __init__(self, name: str) -> None:
        self.name = f"{name}@local"

    def is_slow(self, job: Job) -> bool:
        """Say that no job is."""
        return False

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        """Make one row of the text."""
        return Prepared([Chunk({"text": job.inputs}, 1)])

    def forward(
        self,
        chunks: Sequence[Chunk],
        ended: Ended | None = None,
        follow: Sequence[Follow | None] = (),
    ) -> Sequence[Any]:
        """Sleep if told to, and fail if told to."""
        words = " ".join(chunk.features["text"] for chunk in chunks)
        if "sleep=" in words:
            time.sleep(sum(float(found) for found in re.findall(r"sleep=([\d.]+)", words)))
        if POISON in words:
            raise ValueError("a text of this batch cannot be read")
        return [chunk.features["text"] for chunk in chunks]

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        """Give the text back as a label."""
        return Output([{"label": outputs[0], "score": 1.0}])


class _NoopModels:
    def __init__(self) -> None:
        self._models: dict[str, Future[WarmModel]] = {}

    def key_of(self, job: Job) -> ModelKey:
        return ModelKey(job.task, job.model or "noop", job.revision)

    def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
        if key.model not in self._models:
            future: Future[WarmModel] = Future()
            future.set_result(NoopModel(key.model))
            self._models[key.model] = future
        return self._models[key.model]


def make_engine(settings: Settings, outlet: Outlet, client: Any) -> Engine:
    """Build an engine around the model that does nothing."""
    budget = Budget(tokens=1 << 20, rows=settings.batch_rows, window=settings.window)
    return Engine(
        flow=Flow(_NoopModels(), Payloads.open(settings, client), outlet, lambda _: budget),
        preload=lambda: None,
        tasks=(_TASK,),
        defaults={_TASK: "noop"},
        models=(),
        warm=lambda: ("noop",),
        device="none",
    )


app = make_worker_app(load_settings(), make_engine)
