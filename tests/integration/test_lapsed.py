"""The only worker is killed, without a supervisor: no job is called running that nobody runs."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from stoker import AsyncClient, CancelAnswer, Client, Failure, State, Success, TextClassification
from stoker.status import Status
from stoker_config import keys
from stoker_config.settings import Settings
from tests.support.until import until
from tests.support.worker import worker

LEASE = 2


def looks(settings: Settings, job_id: str) -> Status:
    async def look() -> Status:
        async with AsyncClient(settings=settings) as client:
            return await client.status(job_id)

    return asyncio.run(look())


def cancels(settings: Settings, job_id: str) -> CancelAnswer:
    async def cancel() -> CancelAnswer:
        async with AsyncClient(settings=settings) as client:
            return await client.cancel(job_id)

    return asyncio.run(cancel())


@pytest.mark.both_transports
@pytest.mark.own_transport("jobs of a silent worker go to another one within its lease")
def test_jobs_of_the_only_worker_are_queued_once_its_leases_are_over(
    redis_url: str, tmp_path: Path
) -> None:
    settings = Settings.model_validate({"redis_url": redis_url, "lease": LEASE})
    with redis.Redis.from_url(redis_url) as server, Client(settings=settings) as client:
        with worker(redis_url, tmp_path, lease=LEASE) as running:
            busy = client.submit(TextClassification(inputs="steps=60"))
            until(lambda: busy.status().state is State.RUNNING)
            # They wait for it together, and are one batch: all of them are running.
            jobs = [TextClassification(inputs=f"sleep=1 {at}") for at in range(4)]
            handles = client.submit_many(jobs)
            until(lambda: server.hlen(keys.HELD_MESSAGES) == 5)
            time.sleep(0.5)
            busy.cancel()
            until(lambda: busy.status().state is State.CANCELED)
            until(lambda: server.zcard(keys.RUNNING) == 4)
            running.process.kill()
            running.process.wait()
        one, two, three, four = handles
        # Whoever looks before the lease is over cannot know; nor can who believes the worker alive.
        assert one.status().state is State.RUNNING
        until(lambda: _beat(server) + LEASE < server.time()[0])
        assert one.status().state is State.RUNNING

        server.zrem(keys.WORKERS, running.name)  # as half a minute does

        for status in (one.status(), looks(settings, two.id)):
            assert (status.state, status.terminal) == (State.QUEUED, False)
            assert "no worker serves the pool default" in str(status.waiting_for)
            assert (status.times.attempts, status.times.started_at) == (1, None)
        assert one.status().times.attempts == 1  # each death counts once, however often it is seen
        assert three.cancel() is CancelAnswer.CANCELED
        assert cancels(settings, four.id) is CancelAnswer.CANCELED
        assert server.zcard(keys.RUNNING) == 0
        assert [server.get(keys.deaths(each.id)) for each in handles] == [b"1"] * 4

        with worker(redis_url, tmp_path, lease=LEASE, name="w2"):
            results = dict(client.as_completed(handles, timeout=60))
            until(lambda: not server.exists(keys.HELD_MESSAGES, keys.RUNNING, keys.JOBS))
        for each in (one, two):
            assert isinstance(results[each], Success)
            assert results[each].times.attempts == 2
        for each in (three, four):
            result = results[each]
            assert isinstance(result, Failure)
            assert (result.status, result.times.attempts) == ("canceled", 1)


def _beat(server: Any) -> float:
    [(_, at)] = server.zrange(keys.HELD, -1, -1, withscores=True)
    return float(at)
