"""Results on a Redis server of their own: whoever reads finds them, and what is decided holds."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from celery import chain, chord

from stoker import (
    AsyncClient,
    CancelAnswer,
    Client,
    DeleteAnswer,
    Failure,
    JobHandle,
    RetryAnswer,
    State,
    Success,
    TextClassification,
    TextGeneration,
    Webhook,
    errors,
)
from stoker_config import keys
from stoker_config.app import make_app
from stoker_config.settings import Settings
from stoker_tasks.event import event_id
from tests.doubles.stock import CLASSIFY
from tests.support import redis_server
from tests.support.until import until
from tests.support.worker import Worker, worker

pytestmark = pytest.mark.both_transports

SECONDS = 20.0
NOBODY: dict[str, Any] = {"pool": "nobody", "allow_unserved": True}


@dataclass(frozen=True)
class Two:
    """Two servers and a client of both.

    Attributes:
        settings: Where they are.
        client: The client.
        broker: The broker's server.
        results: The results' server.
    """

    settings: Settings
    client: Client
    broker: Any
    results: Any

    def submit(self, words: str, **fields: Any) -> Any:
        return self.client.submit(TextClassification(inputs=words, **fields))

    def stored(self, job_id: str) -> Any:
        """Give what is stored of a job; on the broker's server there must be nothing."""
        assert not self.broker.exists(keys.result(job_id))
        text = self.results.get(keys.result(job_id))
        return None if text is None else json.loads(text)


@pytest.fixture(scope="module")
def two(
    module_redis: str, transport: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Two]:
    with redis_server.folder() as folder, redis_server.running(folder) as url:
        settings = Settings.model_validate({"redis_url": module_redis, "result_url": url})
        with (
            worker(
                module_redis,
                tmp_path_factory.mktemp("worker"),
                transport=transport,
                result_url=url,
            ),
            Client(settings=settings) as client,
            redis.Redis.from_url(module_redis, decode_responses=True) as broker,
            redis.Redis.from_url(url, decode_responses=True) as results,
        ):
            yield Two(settings, client, broker, results)
            # Nothing but results and what Celery keeps beside them is there.
            kept = [
                key
                for key in results.scan_iter()
                if not key.startswith(("celery-", "stoker:cache:", "stoker:stream:"))
            ]
            assert kept == []


def test_whoever_waits_finds_a_result_and_status_tells_of_it(two: Two) -> None:
    handles = [two.submit(f"{at}") for at in range(20)]

    found = dict(two.client.as_completed(handles, SECONDS))
    assert all(isinstance(each, Success) for each in found.values())
    for handle in handles:
        status = handle.status()
        assert (status.state, status.times) == (State.SUCCEEDED, found[handle].times)
        assert two.stored(handle.id)["status"] == "SUCCESS"
    with make_app(two.settings) as app:
        assert app.AsyncResult(handles[0].id).get(timeout=SECONDS)["output"]
        sent = app.send_task(CLASSIFY, kwargs={"inputs": "stock"}, queue="stoker")
        assert sent.get(timeout=SECONDS)["task"] == "text-classification"
    until(lambda: not two.broker.exists(keys.JOBS))


def test_chains_and_chords_pass_their_results_on(two: Two) -> None:
    link = two.client.signature("text-generation")
    parts = [two.client.signature(TextGeneration(inputs=each)) for each in "ab"]

    assert chain(parts[0], link).apply_async().get(timeout=SECONDS)["output"]
    assert len(chord(parts, link).apply_async().get(timeout=SECONDS)["output"]) == 2


def test_a_job_that_waits_is_canceled_where_results_are_read(two: Two) -> None:
    hook = Webhook(url="http://127.0.0.1:9/")
    waiting = two.client.submit(TextClassification(inputs="x", webhook=hook), **NOBODY)
    done = two.submit("done")
    done.result(SECONDS)

    assert waiting.status().state is State.QUEUED
    assert waiting.cancel() is CancelAnswer.CANCELED
    assert waiting.status().state is State.CANCELED
    assert waiting.status().times.expires_at is not None
    assert two.stored(waiting.id)["status"] == "REVOKED"
    assert isinstance(waiting.wait(SECONDS), Failure)
    assert two.broker.exists(keys.event(event_id(waiting.id, "job.completed")))
    for finished in (waiting, done):
        assert finished.cancel() is CancelAnswer.ALREADY_FINISHED
    assert two.client.cancel("no job") is CancelAnswer.NOT_FOUND


def test_a_job_that_runs_is_canceled(two: Two) -> None:
    handle = two.submit("steps=20")
    until(lambda: handle.status().state is State.RUNNING)

    assert handle.cancel() is CancelAnswer.CANCELING
    assert isinstance(handle.wait(SECONDS), Failure)
    assert handle.status().state is State.CANCELED
    assert two.stored(handle.id)["status"] == "REVOKED"


def test_a_cancel_that_was_cut_off_is_completed_by_a_worker(two: Two) -> None:
    handle = two.submit("steps=20 the device is busy")
    until(lambda: handle.status().state is State.RUNNING)
    behind = two.submit("behind it", model="another")
    # As if the client had died between its two steps.
    two.client._cancel(behind.id)
    handle.cancel()

    assert isinstance(behind.wait(SECONDS), Failure)
    assert behind.status().state is State.CANCELED


def test_a_failure_goes_before_its_job_runs_again(two: Two) -> None:
    handle = two.submit("fail")
    first = handle.wait(SECONDS)
    assert handle.retry() is RetryAnswer.RETRYING
    second = handle.wait(SECONDS)

    assert isinstance(first, Failure)
    assert isinstance(second, Failure)
    assert second.times.attempts == first.times.attempts + 1
    assert two.submit("well").result(SECONDS)
    # What cannot be repeated stays as it is.
    until(lambda: two.broker.hexists(keys.KEPT, handle.id))
    before = two.stored(handle.id)
    two.broker.hdel(keys.KEPT, handle.id)
    assert handle.retry() is RetryAnswer.NOT_KEPT
    assert two.stored(handle.id) == before
    assert two.results.ttl(keys.result(handle.id)) > 0


def test_who_has_waited_for_a_failure_may_repeat_its_job_at_once(two: Two) -> None:
    handle = two.client.submit(TextClassification(inputs="x"), **NOBODY)
    # As between a worker's two steps: its end is stored, and it is known as running.
    failure = {"status": "FAILURE", "result": {"exc_type": "Internal", "exc_message": ["no", {}]}}
    two.broker.hdel(keys.JOBS, handle.id)
    two.broker.zadd(keys.RUNNING, {handle.id: 1})
    waiting = keys.queue("stoker.nobody", 3, keys.PRIORITY_STEPS)
    two.broker.hset(keys.DEAD, handle.id, two.broker.lpop(waiting))
    two.results.set(keys.result(handle.id), json.dumps(failure))
    assert isinstance(handle.wait(SECONDS), Failure)

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(handle.retry)
        time.sleep(0.1)
        assert not answer.done()
        two.broker.zrem(keys.RUNNING, handle.id)
        assert answer.result(SECONDS) is RetryAnswer.RETRYING
    handle.cancel()


def test_an_old_text_goes_before_its_job_runs_again(two: Two) -> None:
    def submit() -> JobHandle:
        """Give a job that is canceled after its first words, and can be put back."""
        handle = two.client.submit(TextGeneration(inputs="x", stream=True), **NOBODY)
        waiting = keys.queue("stoker.nobody", 3, keys.PRIORITY_STEPS)
        two.broker.hset(keys.DEAD, handle.id, two.broker.lpop(waiting))
        two.results.xadd(keys.stream(handle.id), {"attempt": 1, "at": 0, "text": "old"})
        assert handle.cancel() is CancelAnswer.CANCELED
        return handle

    def told(handle: JobHandle) -> bool:
        assert not two.results.exists(keys.stream_before(handle.id))
        return bool(two.results.exists(keys.stream(handle.id)))

    for again in (two.client.retry, two.client.requeue):
        handle = submit()
        assert again(handle.id) in (True, RetryAnswer.RETRYING)
        assert not told(handle)
        handle.cancel()
    # The text of one that is not put back stays with its end.
    handle = submit()
    two.broker.hdel(keys.DEAD, handle.id)
    assert handle.retry() is RetryAnswer.NOT_KEPT
    assert told(handle)
    # It does so though a worker that hears late of the cancel has stored an end meanwhile.
    key, apart = keys.result(handle.id), two.client._server.apart
    assert apart is not None
    stored = two.results.get(key)

    def late() -> RetryAnswer:
        two.results.set(key, stored)
        return RetryAnswer.NOT_KEPT

    assert apart.repeat(handle.id, late, RetryAnswer.RETRYING.__eq__) is RetryAnswer.NOT_KEPT
    assert told(handle)


def test_a_job_that_is_being_deleted_is_not_put_back(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = two.submit("fail")
    handle.wait(SECONDS)
    taken, apart, answers = two.results.get(keys.result(handle.id)), two.client._server.apart, []
    assert apart is not None

    def late() -> RetryAnswer:
        # All of the deletion comes between a retry's taking the failure and its putting it back.
        two.results.set(keys.result(handle.id), taken)
        assert handle.delete() is DeleteAnswer.DELETED
        two.results.delete(keys.result(handle.id))
        return RetryAnswer.NOT_KEPT

    def slow(uris: Sequence[str]) -> None:
        answers.append(handle.retry())

    monkeypatch.setattr(two.client._server.artifacts, "delete", slow)
    assert apart.repeat(handle.id, late, RetryAnswer.RETRYING.__eq__) is RetryAnswer.NOT_KEPT

    assert answers == [RetryAnswer.NOT_KEPT]
    assert handle.status().state is State.GONE
    assert two.stored(handle.id) is None


def test_what_fails_half_way_leaves_all_as_it_was(two: Two) -> None:
    with make_app(two.settings) as app:
        # An ID that does not say when its job was submitted.
        sent = app.send_task(CLASSIFY, kwargs={"inputs": "fail"}, queue="stoker")
    handle = two.client.handle(sent.id)
    handle.wait(SECONDS)
    until(lambda: two.broker.zscore(keys.RUNNING, handle.id) is None)
    before, apart = two.stored(handle.id), two.client._server.apart
    assert apart is not None

    def fail() -> Any:
        raise redis.OutOfMemoryError

    with pytest.raises(redis.OutOfMemoryError):
        apart.repeat(handle.id, fail, bool)
    assert two.stored(handle.id) == before
    with pytest.raises(redis.OutOfMemoryError):
        apart.delete(handle.id, fail)
    assert two.stored(handle.id) == before
    # As if the client had died in between: nothing is known of the job but its message.
    two.results.delete(keys.result(handle.id))
    assert handle.status().state is State.UNKNOWN
    assert handle.retry() is RetryAnswer.RETRYING
    assert isinstance(handle.wait(SECONDS), Failure)
    assert two.client.retry("no job") is RetryAnswer.NOT_FOUND


def test_what_is_deleted_is_on_neither_server(two: Two) -> None:
    waits, done = two.client.submit(TextClassification(inputs="x"), **NOBODY), two.submit("draw=9")
    [artifact] = done.result(SECONDS).artifacts

    assert waits.delete() is DeleteAnswer.NOT_FINISHED
    assert done.delete() is DeleteAnswer.DELETED
    assert done.status().state is State.GONE
    assert two.stored(done.id) is None
    assert not two.broker.exists(keys.artifact(artifact.uri))
    assert two.client.delete("no job") is DeleteAnswer.NOT_FOUND


def test_equal_questions_are_answered_out_of_the_other_server(two: Two) -> None:
    first = two.submit("asked twice", cache=True).result(SECONDS)
    again = two.submit("asked twice", cache=True).result(SECONDS)

    assert (first.cached, again.cached) == (False, True)
    assert again.output == first.output


def test_asyncio_finds_them_as_well(two: Two) -> None:
    async def main() -> None:
        async with AsyncClient(settings=two.settings) as client:
            done = await client.submit(TextClassification(inputs="x"))
            assert isinstance(await done.wait(SECONDS), Success)
            assert (await done.status()).state is State.SUCCEEDED
            assert await done.cancel() is CancelAnswer.ALREADY_FINISHED
            waiting = await client.submit(TextClassification(inputs="x"), **NOBODY)
            assert await waiting.cancel() is CancelAnswer.CANCELED
            assert await waiting.retry() is RetryAnswer.NOT_KEPT
            assert await done.delete() is DeleteAnswer.DELETED

    asyncio.run(main())


def test_a_text_is_read_where_its_result_will_be(two: Two) -> None:
    hook = Webhook(url="http://127.0.0.1:9/", events=("job.output", "job.completed"))
    job = TextGeneration(inputs="a steps=0.5", stream=True, webhook=hook)
    handle = two.client.submit(job)

    text = "".join(piece.text for piece in handle.stream(timeout=SECONDS))
    assert text
    assert handle.result(SECONDS).output[0]["generated_text"].endswith(text)
    assert two.results.exists(keys.stream(handle.id))
    assert not two.broker.exists(keys.stream(handle.id))
    # What webhooks are told stays with the jobs.
    # Its end is told once its result stands.
    until(
        lambda: {each.type for each in two.client.webhooks.list(job=handle.id)} == set(hook.events)
    )

    async def again() -> str:
        async with AsyncClient(settings=two.settings) as client:
            return "".join([piece.text async for piece in client.stream(handle.id)])

    assert asyncio.run(again()) == text
    assert handle.delete() is DeleteAnswer.DELETED
    assert not two.results.exists(keys.stream(handle.id))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_producer_that_looks_elsewhere_is_told_so_and_waits_for_nothing(
    two: Two, asynchronous: bool
) -> None:
    job, told = TextClassification(inputs="x"), "give it the workers' STOKER_RESULT_URL"
    done = two.client.submit(job)
    one = Settings.model_validate({"redis_url": two.settings.redis})
    calls: list[Callable[[Any], Any]] = [
        lambda client: client.submit(job),
        lambda client: client.wait(done.id, SECONDS),
        lambda client: client.wait(done.id, SECONDS),
    ]

    async def refuse() -> None:
        for call in calls:
            async with AsyncClient(settings=one) as client:
                with pytest.raises(errors.ResultsElsewhere, match=told):
                    await call(client)

    if asynchronous:
        asyncio.run(refuse())
        return
    with Client(settings=one) as client:
        for call in calls:
            with pytest.raises(errors.ResultsElsewhere, match=told) as refused:
                call(client)
            assert refused.value.details["setting"] == "STOKER_RESULT_URL"
        with pytest.raises(errors.ResultsElsewhere):
            list(client.as_completed([client.handle(done.id)], SECONDS))
        # Whoever wants a job to wait for workers that are set up otherwise may send it.
        assert client.submit(job, **NOBODY).cancel() is CancelAnswer.CANCELED
    assert isinstance(done.wait(SECONDS), Success)


def test_a_producer_that_alone_looks_on_a_server_of_results_is_told_so(
    redis_url: str, fake_worker: Worker, two: Two
) -> None:
    results = two.settings.result_url.get_secret_value()
    settings = Settings.model_validate({"redis_url": redis_url, "result_url": results})
    with (
        Client(settings=settings) as client,
        pytest.raises(errors.ResultsElsewhere, match="leave that out here"),
    ):
        client.submit(TextClassification(inputs="x"))


def test_one_database_under_two_names_is_refused(two: Two) -> None:
    here = two.settings.redis
    settings = Settings.model_validate({"redis_url": here, "result_url": f"{here}?db=0"})

    assert settings.apart
    with Client(settings=settings) as client, pytest.raises(ValueError, match="leave it out"):
        client.status("x")


def test_a_state_that_is_not_the_last_is_no_result(two: Two) -> None:
    # What Celery stores of a task that it will run again.
    handle = two.client.submit(TextClassification(inputs="x"), **NOBODY)
    two.results.set(keys.result(handle.id), json.dumps({"status": "RETRY", "result": None}))

    assert handle.status().state is State.QUEUED
    assert handle.cancel() is CancelAnswer.CANCELED
    assert two.stored(handle.id)["status"] == "REVOKED"
