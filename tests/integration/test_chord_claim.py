"""A chord's body is dispatched although the delivery that was to do it died before it could."""

from pathlib import Path

import pytest
import redis
from celery import chord

from tests.doubles.stock import CLASSIFY, GENERATE, job, producer
from tests.integration.conftest import celery_url
from tests.support.worker import worker


@pytest.mark.both_transports
def test_a_dead_delivery_keeps_no_chord_from_its_body(
    redis_url: str, tmp_path: Path, transport: str
) -> None:
    header = [job(GENERATE, f"part {at}") for at in range(3)]
    with producer(celery_url(redis_url)) as stock, redis.Redis.from_url(redis_url) as server:
        sent = stock.send(chord(header, job(CLASSIFY)))
        (_, ((group, _), _)), _ = sent
        # What Celery's script leaves where the last part was counted and the worker was killed.
        server.set(f"celery-taskset-meta-{group}.c", "a dead delivery's token", ex=60)

        with worker(redis_url, tmp_path, transport=transport):
            output = stock.get(sent)["output"]

        assert [one[0]["label"] for one in output] == [f"part {at} and on" for at in range(3)]
        assert server.get(f"celery-taskset-meta-{group}.c") == b"done"
