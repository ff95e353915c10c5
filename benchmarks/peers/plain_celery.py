"""Plain Celery: one message, one call of the pipeline, one stored result."""

import os
from functools import lru_cache
from typing import Any

from celery import Celery

from benchmarks.peers.model import Model, load, number

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])
app.conf.update(
    task_default_queue="bench",
    worker_prefetch_multiplier=int(number("PREFETCH")),
    task_acks_late=bool(number("ACKS_LATE")),
)


@lru_cache(maxsize=1)
def _model() -> Model:
    # At the first job, since a pool that forks must not load it before.
    return load()


@app.task(name="bench.run")
def run(text: str) -> Any:
    """Answer one text."""
    return _model().one(text)
