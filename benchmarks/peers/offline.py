"""Runs texts that are all known, without any queue: the pipeline at a batch size, the optimum.

    python -m benchmarks.peers.offline FOLDER

Each line of its input is one request, each line of its output the answer; both are JSON.
"""

import json
import sys
import time
from typing import Any

from benchmarks.peers.embedding import Embedder


def main(folder: str) -> None:
    """Answer requests until the input ends."""
    replies = sys.stdout
    # Whatever a library prints must not stand among the answers.
    sys.stdout = sys.stderr
    embedder = Embedder(folder)
    for line in sys.stdin:
        replies.write(json.dumps(answer(embedder, json.loads(line))) + "\n")
        replies.flush()


def answer(embedder: Embedder, request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request says."""
    texts, way, value = request["texts"], request["way"], int(request.get("value", 0))
    if way == "bare":
        return {"seconds": [embedder.bare(text, value) for text in texts]}
    began = time.perf_counter()
    if way == "single":
        vectors = [embedder.one(text) for text in texts]
    elif way == "pipeline":
        vectors = embedder.pipelined(texts, value)
    elif way == "optimum":
        vectors = embedder.optimum(texts, value)
    else:
        raise ValueError(f"unknown way: {way}")
    return {"seconds": time.perf_counter() - began, "outputs": vectors}


if __name__ == "__main__":
    main(sys.argv[1])
