"""LitServe: batches by count and time-out, in memory, over HTTP."""

import os
from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers.model import load, number


class Api(litserve.LitAPI):
    """The model behind one route."""

    def setup(self, device: str) -> None:
        """Load the model in the process that runs it."""
        self._model = load()

    def decode_request(self, request: Request) -> str:
        """Give the text of a request: its parsed body, whatever LitServe has one annotate."""
        return str(request["text"])

    def predict(self, x: Any) -> Any:
        """Answer a batch, or one text where batching is off."""
        return self._model.batch(x) if isinstance(x, list) else self._model.one(x)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Make a response of an answer."""
        return {"output": output}


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(max_batch_size=int(number("BATCH")), batch_timeout=number("WAIT")),
        accelerator="cpu",
        devices=1,
        workers_per_device=1,
        timeout=600,
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
