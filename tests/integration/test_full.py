"""A Redis without memory: producers hear it in Stoker's words, and workers lose no lease."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from stoker import (
    AsyncClient,
    CancelAnswer,
    Client,
    DeleteAnswer,
    RetryAnswer,
    State,
    StokerError,
    TextClassification,
    TextGeneration,
    errors,
)
from stoker_config import keys
from stoker_config.settings import Settings
from stoker_tasks.event import Event
from stoker_workers.app import make_worker_app
from stoker_workers.broker.ledger import Ledger, Return
from stoker_workers.broker.results import Deliveries, Stored
from tests.support import redis_server, valkey_server
from tests.support.until import until
from tests.support.worker import worker

JOB = TextClassification(inputs="x", idempotency_key="k")


@pytest.fixture(scope="module", params=["redis", "valkey"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Both tell in words of their own that they refuse a script."""
    if request.param == "valkey":
        with valkey_server.running(tmp_path_factory.mktemp("valkey")) as url:
            yield url
    else:
        with redis_server.folder() as folder, redis_server.running(folder) as url:
            yield url


@pytest.fixture
def server(url: str) -> Iterator[Any]:
    with redis.Redis.from_url(url) as server:
        server.flushall()
        yield server


@contextmanager
def full(server: Any) -> Iterator[None]:
    server.config_set("maxmemory", 1)
    try:
        yield
    finally:
        server.config_set("maxmemory", 0)


def refused(call: Any, kind: type[StokerError], url: str) -> dict[str, Any]:
    with pytest.raises(kind, match=r"no memory left \(maxmemory\)") as caught:
        call()
    assert caught.value.retryable
    assert "TextClassification" not in str(caught.value)
    assert caught.value.details["retry_after"] > 0
    return caught.value.details


@pytest.mark.parametrize("limit", [None, 1000], ids=["unbounded", "bounded"])
def test_submitting_is_refused_with_a_time_to_try_again(
    url: str, server: Any, limit: int | None
) -> None:
    settings = Settings.model_validate({"redis_url": url, "queue_limit": limit})

    async def submit() -> None:
        async with AsyncClient(settings=settings) as client:
            await client.submit_many([JOB] * 3, allow_unserved=True)

    with Client(settings=settings) as client:
        with full(server):
            for jobs in ([TextClassification(inputs="x")], [JOB], [JOB] * 600):
                details = refused(
                    lambda jobs=jobs: client.submit_many(jobs, allow_unserved=True),
                    errors.QueueFull,
                    url,
                )
                assert details["taken"] == []
            refused(lambda: asyncio.run(submit()), errors.QueueFull, url)
        assert not server.exists(keys.JOBS, "stoker")

        assert client.submit(JOB, allow_unserved=True).status().state is State.QUEUED


def test_files_and_large_inputs_are_refused_alike(url: str, server: Any) -> None:
    async def upload() -> None:
        async with AsyncClient(url) as client:
            await client.upload(b"x" * 10)

    with Client(url) as client, full(server):
        refused(lambda: client.upload(b"x" * 10), errors.StorageUnavailable, url)
        refused(lambda: asyncio.run(upload()), errors.StorageUnavailable, url)
        large = TextClassification(inputs="word " * 40_000)
        refused(lambda: client.submit(large, allow_unserved=True), errors.StorageUnavailable, url)


def test_what_frees_memory_is_not_refused(url: str, server: Any) -> None:
    with Client(url) as client:
        handle = client.submit(JOB, allow_unserved=True)
        with full(server):
            assert handle.cancel() is CancelAnswer.CANCELED
            assert handle.status().state is State.CANCELED
            assert handle.retry() is RetryAnswer.NOT_KEPT
            assert handle.delete() is DeleteAnswer.DELETED
        assert handle.status().state is State.GONE


def test_leases_are_renewed_and_given_back(url: str, server: Any) -> None:
    ledger = Ledger(server, keys.HELD, keys.HELD_MESSAGES, 60.0)
    server.zadd(keys.HELD, {"w.1": 1, "w.2": 1})
    server.hset(keys.HELD_MESSAGES, mapping={"w.1": '["one", "", "q"]', "w.2": '["two", "", "q"]'})
    server.zadd(keys.RUNNING, {"job": 1})
    ledger._held.update({"w.1": "q", "w.2": "q", "gone": "q"})

    with full(server):
        ledger.beat()
        ledger.restore([Return("w.2", "q", "again", died="job")])

    [(tag, at)] = server.zrange(keys.HELD, 0, -1, withscores=True)
    assert (tag, at > 1) == (b"w.1", True)
    assert server.lrange("q", 0, -1) == [b"again"]
    assert server.get(keys.deaths("job")) == b"1"


def test_a_large_result_holds_no_small_one_of_its_bunch_back(url: str, server: Any) -> None:
    jobs = [f"job{at}" for at in range(6)]
    tags = {job: f"w.{job}" for job in jobs}
    server.zadd(keys.HELD, dict.fromkeys(tags.values(), 1))
    server.hset(keys.HELD_MESSAGES, mapping=dict.fromkeys(tags.values(), "m" * 2000))

    def stored() -> list[bool]:
        return [bool(server.exists(keys.result(job))) for job in jobs]

    with make_worker_app(Settings.model_validate({"redis_url": url})) as app:

        def store() -> None:
            with app.backend.collect(Deliveries(tags=tags)):
                for at, job in enumerate(jobs):
                    app.backend.store_result(job, "x" * (20_000 if at in (0, 3) else 1), "SUCCESS")

        with ThreadPoolExecutor(1) as threads:
            with full(server):
                storing = threads.submit(store)
                until(lambda: any(stored()))
                until(lambda: server.zcard(keys.HELD) == 2)
                assert stored() == [at not in (0, 3) for at in range(6)]
                assert not storing.done()
            storing.result(30)
    assert all(stored())
    assert not server.exists(keys.HELD, keys.HELD_MESSAGES)


def test_a_full_broker_is_worked_off_where_results_are_apart(url: str, server: Any) -> None:
    sizes = {"small": 10, "large": 5000}
    tags = {job: f"w.{job}" for job in sizes}
    server.zadd(keys.HELD, dict.fromkeys(tags.values(), 1))
    server.hset(keys.HELD_MESSAGES, mapping={tags[job]: "m" * sizes[job] for job in sizes})
    event = Event(id="", job="", type="job.completed", url="http://h/", secret="", body="told")
    with redis_server.folder() as folder, redis_server.running(folder) as apart:
        settings = Settings.model_validate({"redis_url": url, "result_url": apart})
        with make_worker_app(settings) as app, full(server):
            for job in sizes:
                stored = Stored(
                    job, keys.result(job), "{}", 60, replace(event, id=f"msg_{job}", job=job)
                )
                with suppress(redis.OutOfMemoryError):
                    app.backend._store_all([stored], Deliveries(tags=tags))

    # What goes is larger than what tells of it; the other one waits.
    assert server.zrange(keys.HELD, 0, -1) == [b"w.small"]
    assert server.exists(keys.event("msg_large"))
    assert not server.exists(keys.event("msg_small"))


@pytest.mark.both_transports
@pytest.mark.own_transport("a queue that has filled the server's memory is worked off")
def test_texts_hold_up_no_results_and_come_when_there_is_memory(
    url: str, server: Any, tmp_path: Path
) -> None:
    def asking(words: str) -> TextGeneration:
        return TextGeneration(inputs=words + " on" * 100, stream=True)

    with worker(url, tmp_path) as running, Client(url) as client:
        cut = client.submit(asking("cut steps=3"))
        next(cut.stream(timeout=30))
        whole = client.submit(asking("whole steps=4"))
        with full(server):
            until(lambda: "texts cannot be handed on" in running.lines())
            ended = cut.result(timeout=30).output[0]["generated_text"]
            until(lambda: whole.status().state is State.RUNNING)
        told = "".join(piece.text for piece in whole.stream(timeout=30))

        assert told == whole.result(timeout=30).output[0]["generated_text"]
        # What its text lacks, its result has.
        begun = "".join(piece.text for piece in cut.stream(timeout=30))
        assert begun
        assert ended.startswith(begun)
