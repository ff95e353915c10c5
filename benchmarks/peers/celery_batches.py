"""celery-batches: messages are gathered up to a count or a time, and run in the order they came."""

import os
from functools import lru_cache
from typing import Any

from celery import Celery
from celery_batches import Batches

from benchmarks.peers.model import Model, load, number

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])
app.conf.update(
    task_default_queue="bench",
    worker_prefetch_multiplier=int(number("PREFETCH")),
    task_acks_late=True,
)


@lru_cache(maxsize=1)
def _model() -> Model:
    return load()


@app.task(
    base=Batches,
    name="bench.run",
    flush_every=int(number("BATCH")),
    flush_interval=number("WAIT"),
)
def run(requests: list[Any]) -> None:
    """Answer the texts of a batch in one forward pass, and store each result."""
    outputs = _model().batch([request.args[0] for request in requests])
    for request, output in zip(requests, outputs, strict=True):
        app.backend.mark_as_done(request.id, output, request=request)
