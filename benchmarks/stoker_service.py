"""Stoker as the system under test."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any, Final

from benchmarks.services import READY_SECONDS, Answer, Bench, Queued, module, python
from stoker import Client, FeatureExtraction, TextClassification
from stoker_tasks.job import Job
from stoker_tasks.text import FeatureExtractionParameters

_POOLED = FeatureExtractionParameters(pooling="mean", truncation=True)
_LOOK_SECONDS: Final = 0.02


class Stoker(Queued):
    """A Stoker worker.

    Args:
        bench: Where it runs.
        model: The embedding model's folder; None for the model that does nothing.
        setting: What the table calls this setting; `default` if all settings are.
        **settings: Settings of the worker that are not the defaults, as the environment has them.
    """

    def __init__(
        self, bench: Bench, model: str | None, setting: str = "default", **settings: object
    ) -> None:
        super().__init__(bench, "Stoker", setting)
        self._model = model
        self._settings = settings
        self.client = Client(bench.server.url)
        self._filled = 0
        self._idle = 0.0

    def command(self) -> Sequence[str]:
        """Start it as an operator does; the one without a model is told its app."""
        if self._model is None:
            app = "benchmarks.noop_worker"
            return module(python(), "celery", "-A", app, "worker", "-Q", "stoker", "-l", "warning")
        preload = f"feature-extraction={self._model}"
        return module(python(), "stoker_workers", "worker", "--device", "cpu", "--preload", preload)

    def environment(self) -> dict[str, str]:
        """Give the worker's settings."""
        given = {"redis_url": self.bench.server.url, "log_level": "warning", **self._settings}
        return {f"STOKER_{name.upper()}": str(value) for name, value in given.items()}

    def fill(self, texts: Sequence[str], models: Sequence[str] | None = None) -> list[str]:
        """Put a job for each text on the queue.

        Args:
            texts: The texts.
            models: The name of each text's model; the worker's own if None.
        """
        jobs = [
            self.job(text, model)
            for text, model in zip(texts, models or repeat(None), strict=False)
        ]
        handles = self.client.submit_many(jobs, allow_unserved=True)
        self._filled += len(handles)
        return [handle.id for handle in handles]

    def send(self, text: str) -> str:
        """Submit one job as a caller does; gives its ID."""
        return self.client.submit(self.job(text), allow_unserved=True).id

    def once(self, text: str) -> None:
        """Submit one job, and wait for its result as a caller does."""
        self.client.submit(self.job(text), allow_unserved=True).wait(READY_SECONDS)

    def job(self, text: str, model: str | None = None) -> Job:
        """Give the job of a text."""
        if self._model is None:
            return TextClassification(inputs=text, model=model)
        return FeatureExtraction(inputs=text, model=model, parameters=_POOLED)

    def idle(self) -> float | None:
        """Ask the worker to say now, not at its next beat, what its meter shows."""
        self.client.preload_model(str(self._model), task=FeatureExtraction.task)
        deadline = time.monotonic() + READY_SECONDS
        while True:
            [worker] = self.client.workers()
            if worker.meter["rows"] >= self._filled:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._filled} texts, but the meter says {worker.meter}")
            time.sleep(_LOOK_SECONDS)
        before, self._idle = self._idle, worker.meter["idle_with_work_s"]
        return self._idle - before

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it with a new meter."""
        self._filled, self._idle = 0, 0.0
        with super().running():
            yield

    def read(self, meta: dict[str, Any]) -> Answer:
        """Read the output and the timing."""
        return Answer(meta["result"]["output"], timing=meta["result"]["timing"])
