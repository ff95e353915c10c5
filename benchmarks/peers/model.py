"""The two models that every peer serves: one that does nothing, and MiniLM as its users call it."""

import os
import re
import time
from typing import Any, Protocol

POISON = "poison"
NOOP = "noop"


class Model(Protocol):
    """What a service calls."""

    def one(self, text: str) -> Any:
        """Answer one text."""

    def batch(self, texts: list[str]) -> list[Any]:
        """Answer several texts in one forward pass."""


class Noop:
    """Answers at once, unless a text says `sleep=SECONDS`; `poison` fails whatever it is in."""

    def one(self, text: str) -> Any:
        """Answer one text."""
        return self.batch([text])[0]

    def batch(self, texts: list[str]) -> list[Any]:
        """Answer several texts, or fail with all of them."""
        words = " ".join(texts)
        seconds = sum(float(found) for found in re.findall(r"sleep=([\d.]+)", words))
        if seconds:
            time.sleep(seconds)
        if POISON in words:
            raise ValueError("a text of this batch cannot be read")
        return [[{"label": text, "score": 1.0}] for text in texts]


def load(name: str | None = None) -> Model:
    """Load the model that `BENCH_MODEL` names: `noop`, or a folder.

    Args:
        name: Another one.
    """
    name = name or os.environ["BENCH_MODEL"]
    if name == NOOP:
        return Noop()
    # Only here: a service without a model needs no torch.
    from benchmarks.peers.embedding import Embedder

    return Embedder(name)


def number(name: str) -> float:
    """Read a number that the service is told, such as `BENCH_BATCH`."""
    return float(os.environ[f"BENCH_{name}"])
