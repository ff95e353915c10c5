"""The texts that are all known: a process beside the queue, idle while it is not asked."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from benchmarks.services import ONE_THREAD, Answer, Bench, clean_environment, module, python


class Offline:
    """A process with the model, asked by lines of JSON.

    Args:
        process: The process, with pipes at both ends.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._to: IO[str] | None = process.stdin
        self._from: IO[str] | None = process.stdout

    def run(self, way: str, texts: Sequence[str], value: float = 0) -> tuple[float, list[Answer]]:
        """Answer texts.

        Args:
            way: `single`, `pipeline` (in batches of `value`) or `optimum` (of `value` tokens).
            texts: The texts.
            value: See `way`.

        Returns:
            Texts a second, and the answers in order.
        """
        reply = self._ask({"way": way, "texts": list(texts), "value": value})
        answers = [Answer(output, done=1.0) for output in reply["outputs"]]
        return len(texts) / reply["seconds"], answers

    def bare(self, texts: Sequence[str], repeats: int) -> list[list[float]]:
        """Time the forward pass of each text alone, in seconds."""
        reply = self._ask({"way": "bare", "texts": list(texts), "value": repeats})
        seconds: list[list[float]] = reply["seconds"]
        return seconds

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._to is not None
        assert self._from is not None
        self._to.write(json.dumps(request) + "\n")
        self._to.flush()
        line = self._from.readline()
        if not line:
            raise RuntimeError("the offline process ended; see offline.log")
        reply: dict[str, Any] = json.loads(line)
        return reply


@contextmanager
def offline(bench: Bench, model: str) -> Iterator[Offline]:
    """Run the process until the context ends; it ends by itself if this process does.

    Args:
        bench: Where its log goes.
        model: The embedding model's folder.
    """
    with (bench.folder / "offline.log").open("ab") as log:
        process = subprocess.Popen(
            module(python(), "benchmarks.peers.offline", model),
            env={**clean_environment(), **ONE_THREAD},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield Offline(process)
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
