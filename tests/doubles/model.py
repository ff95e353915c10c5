"""A model without weights, whose every move a test can see and steer.

Its inputs are texts; a row's length is the number of its words. What it gives has the shape of
its task: the text stands in it as a label, a filled mask or a continued text. Words steer it:
`sleep=0.5` makes the forward pass take that long, `hold` until a test sets `go`, `steps=0.5` that
long as well, in small steps between which a row may end, `fail` makes it raise, `oom=3` makes it
run out of memory in a batch of more than three rows, `kill` ends the process, `kill=preprocess`
does so while it is preprocessed, `fault` loses the device, `exit=STAGE` calls `sys.exit()` in that
stage, `bad` is refused by preprocessing, `draw=9` gives a picture of nine bytes as an artifact.
"""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from stoker_config.artifacts import new_uri
from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_workers.engine.model import (
    ArtifactData,
    Chunk,
    Ended,
    Follow,
    ModelKey,
    Output,
    Prepared,
    WarmModel,
)

SHAPES: Final[Mapping[str, Callable[[str], dict[str, Any]]]] = {
    "fill-mask": lambda text: {
        "score": 1.0,
        "token": 7,
        "token_str": "filled",
        "sequence": text.replace("[MASK]", "filled"),
    },
    "text-generation": lambda text: {"generated_text": f"{text} and on"},
}

_STEPS: Final = re.compile(r"steps=([\d.]+)")
_STEP: Final = 0.02


@dataclass
class FakeModel:
    """A `WarmModel` that answers with its input.

    Attributes:
        batches: Each pass's lengths.
        steps: The texts of all steps.
        go: Set once a pass that holds the device may end.
    """

    name: str = "fake@local"
    batches: list[list[int]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def is_slow(self, job: Job) -> bool:
        return False

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        texts = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        _exit_in("preprocess", texts)
        self._hang_in("preprocess", texts)
        if any("kill=preprocess" in text.split() for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        if any("bad" in text.split() for text in texts):
            raise InvalidInput("the word bad is not taken")
        return Prepared([Chunk({"text": text}, max(1, len(text.split()))) for text in texts])

    def forward(
        self,
        chunks: Sequence[Chunk],
        ended: Ended | None = None,
        follow: Sequence[Follow | None] = (),
    ) -> Sequence[Any]:
        self.batches.append([chunk.length for chunk in chunks])
        texts = [chunk.features["text"] for chunk in chunks]
        words = " ".join(texts)
        for seconds in re.findall(r"sleep=([\d.]+)", words):
            time.sleep(float(seconds))
        if "hold" in words.split():
            assert self.go.wait(60)  # as long as `until`
        grown = [Grown(f"{text} and on") for text in texts]
        for each, follower in zip(grown, follow, strict=False):
            if follower is not None:
                follower(each.read)
        self.steps += _walk(texts, ended, grown)
        _exit_in("forward", texts)
        for each in grown:
            each.over = True
        if "fault" in words.split():
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if "kill" in words.split():
            os.kill(os.getpid(), signal.SIGKILL)
        if "fail" in words.split():
            raise ValueError(f"as libraries do, this quotes its input: {words}")
        for limit in re.findall(r"oom=(\d+)", words):
            if len(chunks) > int(limit):
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return texts

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        _exit_in("postprocess", outputs)
        self._hang_in("postprocess", outputs)
        drawn = re.search(r"draw=(\d+)", " ".join(outputs))
        if drawn:
            picture = ArtifactData(new_uri(), "image/png", b"p" * int(drawn[1]))
            return Output([{"picture": picture.uri}], [picture])
        shape = SHAPES.get(job.task, _label)
        count = job.parameters.given().get("top_k") or 1
        if isinstance(job.inputs, list):
            return Output([[shape(text)] * count for text in outputs])
        return Output([shape(text) for text in outputs] * count)

    def _hang_in(self, stage: str, texts: Sequence[str]) -> None:
        if any(f"hang={stage}" in text.split() for text in texts):
            assert self.go.wait(60)


def _exit_in(stage: str, texts: Sequence[str]) -> None:
    if any(f"exit={stage}" in text.split() for text in texts):
        sys.exit(f"as a pipeline of somebody's own may, in {stage}")


@dataclass
class Grown:
    """A text that grows by a letter a step."""

    text: str
    steps: int = 0
    over: bool = False

    def read(self) -> str:
        return self.text if self.over else self.text[: self.steps]


def _walk(texts: Sequence[str], ended: Ended | None, grown: Sequence[Grown]) -> list[str]:
    """Take small steps until each text that wants them has had its own, or has ended."""
    began, walked = time.monotonic(), []
    left = {at: float(found[1]) for at, text in enumerate(texts) if (found := _STEPS.search(text))}
    while left:
        time.sleep(_STEP)
        walked += [texts[at] for at in left]
        for at in left:
            grown[at].steps += 1
        over = ended() if ended else [False] * len(texts)
        spent = time.monotonic() - began
        left = {at: seconds for at, seconds in left.items() if seconds > spent and not over[at]}
    return walked


def _label(text: str) -> dict[str, Any]:
    return {"label": text, "score": 1.0}


@dataclass
class FakeModels:
    """The engine's `Models`, with one fake for all keys."""

    model: FakeModel = field(default_factory=FakeModel)

    def key_of(self, job: Job) -> ModelKey:
        return ModelKey(job.task, job.model or "fake", job.revision)

    def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
        future: Future[WarmModel] = Future()
        future.set_result(self.model)
        return future
