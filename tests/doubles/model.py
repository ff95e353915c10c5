"""A model without weights, whose every move a test can see and steer.

Its inputs are texts of text-classification jobs; a row's length is the number of its words. Words
steer it: `sleep=0.5` makes the forward pass take that long, `fail` makes it raise, `oom=3` makes
it run out of memory in a batch of more than three rows, `kill` ends the process, `bad` is refused
by preprocessing.
"""

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk, ModelKey, Output, Prepared, WarmModel


@dataclass
class FakeModel:
    """A `WarmModel` that answers with its input; `batches` has each pass's lengths."""

    name: str = "fake@local"
    batches: list[list[int]] = field(default_factory=list)

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        texts = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        if any("bad" in text.split() for text in texts):
            raise InvalidInput("the word bad is not taken")
        return Prepared([Chunk({"text": text}, max(1, len(text.split()))) for text in texts])

    def forward(self, chunks: Sequence[Chunk]) -> Sequence[Any]:
        self.batches.append([chunk.length for chunk in chunks])
        texts = [chunk.features["text"] for chunk in chunks]
        words = " ".join(texts)
        for seconds in re.findall(r"sleep=([\d.]+)", words):
            time.sleep(float(seconds))
        if "kill" in words.split():
            os.kill(os.getpid(), signal.SIGKILL)
        if "fail" in words.split():
            raise ValueError("a row of this batch cannot be computed")
        for limit in re.findall(r"oom=(\d+)", words):
            if len(chunks) > int(limit):
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [{"label": text, "score": 1.0} for text in texts]

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        if isinstance(job.inputs, list):
            return Output([[output] for output in outputs])
        return Output(list(outputs))


@dataclass
class FakeModels:
    """The engine's `Models`, with one fake for all keys."""

    model: FakeModel = field(default_factory=FakeModel)

    def key_of(self, task: str, model: str | None, revision: str | None) -> ModelKey:
        return ModelKey(task, model or "fake", revision)

    def get(self, key: ModelKey) -> "Future[WarmModel]":
        future: Future[WarmModel] = Future()
        future.set_result(self.model)
        return future
