"""mosec: a server in Rust gathers batches by count and time, in memory, over HTTP."""

from typing import Any

import mosec

from benchmarks.peers.model import load, number

_BATCH = int(number("BATCH"))


class Worker(mosec.Worker):
    """The model behind the route /inference; address and time-outs come by the command line."""

    def __init__(self) -> None:
        super().__init__()
        self._model = load()

    def forward(self, data: Any) -> Any:
        """Answer a batch, or one text where batching is off."""
        if isinstance(data, list):
            outputs = self._model.batch([each["text"] for each in data])
            return [{"output": output} for output in outputs]
        return {"output": self._model.one(data["text"])}


if __name__ == "__main__":
    server = mosec.Server()
    # The time that a batch is waited for has to be a millisecond at least.
    wait = max(1, int(1000 * number("WAIT")))
    server.append_worker(Worker, num=1, max_batch_size=_BATCH, max_wait_time=wait)
    server.run()
