"""Ray Serve: batches by count and time inside a replica, in memory, over HTTP."""

import os
from typing import Any

import ray
from ray import serve

from benchmarks.peers.model import load, number

_BATCH = int(number("BATCH"))


class Service:
    """One replica with the model."""

    def __init__(self) -> None:
        self._model = load()

    @serve.batch(max_batch_size=_BATCH, batch_wait_timeout_s=number("WAIT"))
    async def run(self, texts: list[str]) -> list[Any]:
        """Answer a batch."""
        return self._model.batch(texts) if _BATCH > 1 else [self._model.one(texts[0])]

    async def __call__(self, request: Any) -> dict[str, Any]:
        """Answer a request."""
        body = await request.json()
        return {"output": await self.run(body["text"])}


if __name__ == "__main__":
    # A cluster of this machine's own loopback, told to nobody.
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])})
    deploy: Any = serve.deployment(max_ongoing_requests=4096, ray_actor_options={"num_cpus": 1})
    serve.run(deploy(Service).bind(), blocking=True)
