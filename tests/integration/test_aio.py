"""The asyncio client: the same calls on a real loop, and any number of waits on two connections."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from celery import chain

from stoker import (
    AsyncClient,
    AsyncJobHandle,
    CancelAnswer,
    Client,
    Failure,
    RetryAnswer,
    State,
    Success,
    TextClassification,
    TextGeneration,
    errors,
)
from stoker.ids import new_id
from stoker_config import keys
from stoker_config.serving import Registry
from tests.integration.test_waiting import Store, storing
from tests.support import redis_server
from tests.support.serving import serving
from tests.support.worker import Worker

WAITS = 3000


def text(words: str, **fields: Any) -> TextClassification:
    return TextClassification.model_validate({"inputs": words, **fields})


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def reach(handle: AsyncJobHandle, state: State) -> None:
    async with asyncio.timeout(30):
        while (await handle.status()).state is not state:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def on(url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url) as client:
        yield client


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(90):
            await test

    asyncio.run(bounded())


# -- with a worker ---------------------------------------------------------------------------------


def test_a_job_from_its_submit_to_its_result(module_redis: str, module_worker: Worker) -> None:
    async def test() -> None:
        async with on(module_redis) as client:
            handle = await client.submit(text("one two", metadata={"order": "7"}))
            result = await handle.result(timeout=20)
            assert result.output == [{"label": "one two", "score": 1.0}]
            assert result.metadata == {"order": "7"}
            assert result.times.attempts == 1
            done = await handle.status()
            assert (done.state, done.times) == (State.SUCCEEDED, result.times)
            # It is the same job for the blocking client.
            with Client(module_redis) as blocking:
                assert blocking.wait(handle.id, timeout=1) == result
            large = "word " * 40_000
            assert (await (await client.submit(text(large))).result(20)).timing.tokens == 40_000

    run(test())


def test_many_jobs_as_they_come_and_their_errors(module_redis: str, module_worker: Worker) -> None:
    async def test() -> None:
        async with on(module_redis) as client:
            jobs = [*(text(f"job {n}") for n in range(600)), text("bad")]
            handles = await client.submit_many(jobs)
            found = {handle.id: result async for handle, result in client.as_completed(handles, 30)}
            assert [found[each.id].status for each in handles] == ["succeeded"] * 600 + ["failed"]
            with pytest.raises(errors.InvalidInput, match="the word bad"):
                await handles[-1].result(timeout=1)
            with pytest.raises(errors.Unserved, match="known pools: default"):
                await client.submit(text("x"), pool="elsewhere")
            waiting = await client.submit(text("x"), pool="elsewhere", allow_unserved=True)
            assert "no worker serves the pool elsewhere" in str(
                (await waiting.status()).waiting_for
            )
            assert await waiting.cancel() is CancelAnswer.CANCELED

    run(test())


def test_canceling_and_running_again(module_redis: str, module_worker: Worker) -> None:
    async def test() -> None:
        async with on(module_redis) as client:
            handle = await client.submit(text("steps=3"))
            await reach(handle, State.RUNNING)
            assert await handle.retry() is RetryAnswer.NOT_FINISHED
            assert await handle.cancel() is CancelAnswer.CANCELING
            result = await handle.wait(timeout=20)
            assert isinstance(result, Failure)
            assert result.status == "canceled"
            assert await handle.cancel() is CancelAnswer.ALREADY_FINISHED
            assert await client.cancel("no-such-job") is CancelAnswer.NOT_FOUND
            assert await handle.retry() is RetryAnswer.RETRYING
            assert (await handle.result(timeout=20)).times.attempts == 2
            assert await handle.retry() is RetryAnswer.SUCCEEDED
            await handle.delete()
            assert (await handle.status()).state is State.GONE

    run(test())


def test_a_chain_of_signatures(module_redis: str, module_worker: Worker) -> None:
    async def test() -> None:
        async with on(module_redis) as client:
            first = await client.signature(TextGeneration(inputs="Once"))
            link = await client.signature("text-classification", parameters={"top_k": 1})
            last = await asyncio.to_thread(chain(first, link).apply_async)
            result = await client.handle(last.id).result(timeout=20)
            assert result.output == [{"label": "Once and on", "score": 1.0}]
            with pytest.raises(errors.InvalidInput, match="idempotency_key"):
                await client.signature(text("x", idempotency_key="once"))

    run(test())


def test_an_idempotency_key_is_one_for_both_clients(
    module_redis: str, module_worker: Worker
) -> None:
    async def test() -> None:
        job = text("x", idempotency_key="both")
        async with on(module_redis) as client:
            handles = await asyncio.gather(*(client.submit(job) for _ in range(20)))
            with Client(module_redis) as blocking:
                ids = {blocking.submit(job).id, *(handle.id for handle in handles)}
            assert len(ids) == 1
            with pytest.raises(errors.IdempotencyConflict):
                await client.submit(text("y", idempotency_key="both"))

    run(test())


# -- waiting ---------------------------------------------------------------------------------------


def test_thousands_of_waits_share_two_connections_and_few_commands(redis_url: str) -> None:
    async def test(store: Store) -> None:
        ids = [new_id() for _ in range(WAITS)]
        # Else those who begin to wait look again and again for one, beside the listener.
        Registry(store.server).announce(serving(results_apart=False))
        before = store.connections()
        async with on(redis_url) as client:
            store.server.config_resetstat()
            waits = [asyncio.create_task(client.wait(each)) for each in ids]
            await until(lambda: store.subscribed() == WAITS)
            await until(lambda: store.said().get("mget", 0) > 0)
            waiting = await asyncio.to_thread(store.at_rest)
            assert store.connections() - before <= 2
            store.server.config_resetstat()
            await asyncio.sleep(0.5)
            assert store.said() == {}

            for each in ids:
                store.finish(each)
            results = await asyncio.gather(*waits)

            assert [each.output for each in results if isinstance(each, Success)] == ids
            await until(lambda: store.subscribed() == 0)
            said = store.said()
            names = ("subscribe", "mget", "get", "unsubscribe", "ping")
            own = sum(said.get(name, 0) for name in names)
            assert own + sum(waiting.values()) <= 3 * WAITS

    with storing(redis_url) as store:
        run(test(store))


def test_a_wait_that_is_given_up_leaves_nothing_behind(redis_url: str) -> None:
    async def test(store: Store) -> None:
        async with on(redis_url) as client:
            job_id = new_id()
            wait = asyncio.create_task(client.wait(job_id))
            await until(lambda: store.subscribed() == 1)
            wait.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wait
            with pytest.raises(TimeoutError, match="1 jobs were not finished"):
                await client.wait(job_id, timeout=0.1)
            await until(lambda: store.subscribed() == 0)
            store.finish(job_id)
            for timeout in (None, 5, 0):
                assert isinstance(await client.wait(job_id, timeout), Success)

    with storing(redis_url) as store:
        run(test(store))


def test_a_wait_keeps_its_connection_however_long_nothing_comes(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker_config.servers.ANSWER_SECONDS", 1.0)

    async def test(store: Store) -> None:
        job_id = new_id()
        async with on(redis_url) as client:
            wait = asyncio.create_task(client.wait(job_id))
            await until(lambda: store.said().get("mget", 0) > 0)
            await until(lambda: store.subscribed() == 1)
            listeners = store.listeners()
            await asyncio.sleep(2.5)
            assert store.subscribed() == 1
            assert store.listeners() == listeners
            store.finish(job_id)
            assert isinstance(await wait, Success)

    with storing(redis_url) as store:
        store.server.config_resetstat()
        run(test(store))


def test_waits_outlive_a_server_that_is_started_anew() -> None:
    async def test() -> None:
        ids = [new_id() for _ in range(200)]
        with redis_server.folder() as folder:
            with redis_server.running(folder) as url, storing(url) as store:
                client = AsyncClient(url)
                waits = [asyncio.create_task(client.wait(each)) for each in ids]
                await until(lambda: store.subscribed() == 200)
            with redis_server.running(folder) as url, storing(url) as store:
                store.finish(ids[0])
                await until(lambda: store.subscribed() == 199)
                for each in ids[1:]:
                    store.finish(each)
                assert len(await asyncio.gather(*waits)) == 200
                await client.close()

    run(test())


def test_without_a_server_and_after_the_end(tmp_path: Any, redis_url: str) -> None:
    async def test(store: Store) -> None:
        async with on(f"unix://{tmp_path}/none.sock") as client:
            with pytest.raises(redis.ConnectionError):
                await client.wait(new_id())
        client = AsyncClient(redis_url)
        wait = asyncio.create_task(client.wait(new_id()))
        await until(lambda: store.subscribed() == 1)
        await client.close()
        with pytest.raises(RuntimeError, match="the client was closed"):
            await wait
        assert not store.server.exists(keys.JOBS)

    with storing(redis_url) as store:
        run(test(store))
