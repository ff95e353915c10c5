"""Once and again: idempotency keys make two requests one job, a retry makes one job run twice."""

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis

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
    errors,
)
from stoker.idempotency import digest_of
from stoker.ids import new_id
from stoker_config import keys
from stoker_config.clock import DAY
from tests.doubles.stock import CLASSIFY, Producer, Raised
from tests.support.until import until

pytestmark = [pytest.mark.usefixtures("module_worker"), pytest.mark.both_transports]


@pytest.fixture
def client(module_client: Client) -> Client:
    return module_client


@pytest.fixture
def server(module_redis: str) -> Any:
    with redis.Redis.from_url(module_redis) as server:
        yield server


def text(words: str, key: str | None = None, **fields: Any) -> TextClassification:
    given = {"inputs": words, **fields, **({"idempotency_key": key} if key else {})}
    return TextClassification.model_validate(given)


# -- idempotency keys ------------------------------------------------------------------------------


def test_the_same_request_twice_is_one_job_also_after_its_end(client: Client, server: Any) -> None:
    first = client.submit(text("x", "order 1"))
    again = client.submit(text("x", "order 1"))
    result = first.result(timeout=10)
    after = client.submit(text("x", "order 1"))

    assert first.id == again.id == after.id
    assert after.result(timeout=1) == result
    assert result.times.attempts == 1
    # From its end on, and not from when it was submitted.
    until(lambda: 0 < server.ttl(keys.idempotency(digest_of("order 1", None))) <= DAY)


def test_a_key_is_not_taken_for_another_request(client: Client) -> None:
    client.submit(text("x", "order 2"))

    for other in (
        text("y", "order 2"),
        text("x", "order 2", parameters={"top_k": 2}),
        text("x", "order 2", priority="high"),
    ):
        with pytest.raises(errors.IdempotencyConflict, match="give each request a key of its own"):
            client.submit(other)
    with pytest.raises(errors.IdempotencyConflict):
        client.submit(text("x", "order 2"), pool="elsewhere", allow_unserved=True)


def test_a_key_is_its_tenants_own(client: Client) -> None:
    one = client.submit(text("x", "order 3", tenant="one"))
    other = client.submit(text("y", "order 3", tenant="other"))
    nobody = client.submit(text("z", "order 3"))

    assert len({one.id, other.id, nobody.id}) == 3
    assert client.submit(text("x", "order 3", tenant="one")).id == one.id


def test_of_many_jobs_each_key_is_one_and_a_conflict_sends_nothing(
    client: Client, server: Any
) -> None:
    jobs = [text("a", "k1"), text("no key"), text("b", "k2"), text("a", "k1"), text("no key")]

    handles = client.submit_many(jobs)

    ids = [handle.id for handle in handles]
    assert ids[0] == ids[3]
    assert len(set(ids)) == 4
    assert all(isinstance(result, Success) for _, result in client.as_completed(handles, 10))
    held = [text("sleep=1"), text("c", "k3"), text("other", "k2")]
    with pytest.raises(errors.IdempotencyConflict) as refused:
        client.submit_many(held)
    assert refused.value.details == {"position": 2}
    assert not server.exists(keys.idempotency(digest_of("k3", None)))


def test_racing_submits_of_one_key_are_one_job(client: Client, module_redis: str) -> None:
    with Client(module_redis) as other, ThreadPoolExecutor(8) as threads:
        ids = list(
            threads.map(
                lambda at: (client, other)[at % 2].submit(text("raced", "race")).id, range(40)
            )
        )

    assert len(set(ids)) == 1
    assert client.handle(ids[0]).result(timeout=10).times.attempts == 1


def test_a_key_is_told_to_nobody(client: Client, server: Any) -> None:
    client.submit(text("x", "alice@example.org"), pool="nobody", allow_unserved=True)

    [message] = server.lrange(keys.queue("stoker.nobody", 3, keys.PRIORITY_STEPS), 0, -1)
    assert b"alice" not in message
    assert not list(server.scan_iter("*alice*"))
    assert "alice" not in repr(text("x", "alice@example.org"))


def test_a_key_where_none_is_kept_is_refused(client: Client, stock: Producer) -> None:
    refused = stock.get(stock.send_task(CLASSIFY, kwargs={"inputs": "x", "idempotency_key": "k"}))

    assert isinstance(refused, Raised)
    assert "leave it out" in refused.text
    with pytest.raises(errors.InvalidInput, match="leave it out"):
        client.signature(text("x", "k"))


def test_a_canceled_jobs_key_stands_for_it_a_while_and_a_deleted_ones_is_free(
    client: Client, server: Any
) -> None:
    def submit() -> JobHandle:
        job = text("x", "order 9", tenant="t", retention=600)
        return client.submit(job, pool="nobody", allow_unserved=True)

    key, first = keys.idempotency(digest_of("order 9", "t")), submit()
    assert server.ttl(key) > 80 * DAY

    assert first.cancel() is CancelAnswer.CANCELED

    # A caller that repeats its request does not undo what somebody canceled.
    assert submit().id == first.id
    assert 0 < server.ttl(key) <= DAY
    assert first.delete() is DeleteAnswer.DELETED
    assert not server.exists(key, keys.keyed(first.id))
    second = submit()
    assert second.id != first.id
    assert second.status().state is State.QUEUED
    assert submit().id == second.id


def test_a_deleted_jobs_message_takes_nothing_from_the_next_job_of_its_key(
    client: Client, server: Any
) -> None:
    busy = client.submit(text("steps=1"))
    until(lambda: busy.status().state is State.RUNNING)
    first = client.submit(text("x", "order 10"))
    first.cancel()
    first.delete()
    second = client.submit(text("x", "order 10"), countdown=60)
    busy.cancel()
    until(lambda: not server.exists("unacked") or server.hlen("unacked") == 1)

    assert server.ttl(keys.idempotency(digest_of("order 10", None))) > 80 * DAY
    assert second.cancel() is CancelAnswer.CANCELED


@pytest.mark.parametrize("running", [False, True], ids=["waiting", "running"])
def test_a_canceled_job_is_kept_for_as_long_as_it_asked(
    client: Client, server: Any, running: bool
) -> None:
    job = text("steps=1", retention=600)
    handle = client.submit(job) if running else client.submit(job, pool="no", allow_unserved=True)
    if running:
        until(lambda: handle.status().state is State.RUNNING)
    handle.cancel()
    result = handle.wait(timeout=10)

    assert 500 < server.ttl(keys.result(handle.id)) <= 600
    for times in (result.times, handle.status().times):
        assert times.expires_at is not None
        assert times.finished_at is not None
        assert times.expires_at - times.finished_at == timedelta(seconds=600)


# -- a retry by hand -------------------------------------------------------------------------------


def test_a_failed_job_runs_again_under_its_id(client: Client) -> None:
    handle = client.submit(text("fail", metadata={"order": "7"}))
    failed = handle.wait(timeout=10)
    assert isinstance(failed, Failure)
    assert failed.times.attempts == 1

    assert handle.retry() is RetryAnswer.RETRYING
    again = handle.wait(timeout=10)

    assert isinstance(again, Failure)
    assert again.times.attempts == 2
    assert again.times.queued_at is not None
    assert failed.times.finished_at is not None
    # Two processes' ideas of the server's clock: as far apart as an answer takes.
    waited = again.times.queued_at - failed.times.finished_at
    assert waited > timedelta(seconds=-1)
    assert handle.retry() is RetryAnswer.RETRYING
    assert handle.wait(timeout=10).times.attempts == 3


@pytest.mark.parametrize("running", [False, True], ids=["waiting", "running"])
def test_a_canceled_job_runs_again(client: Client, running: bool) -> None:
    # One that runs again does so to its end.
    busy = client.submit(text("steps=3" if running else "steps=60"))
    until(lambda: busy.status().state is State.RUNNING)
    handle = busy if running else client.submit(text("waits"))
    answer = handle.cancel()
    assert answer is (CancelAnswer.CANCELING if running else CancelAnswer.CANCELED)
    if not running:
        busy.cancel()
    assert isinstance(handle.wait(timeout=10), Failure)

    # The message of one that waited is there once a worker has come upon it.
    until(lambda: handle.retry() is RetryAnswer.RETRYING)

    assert isinstance(handle.wait(timeout=10), Success)
    assert handle.status().state is State.SUCCEEDED


def test_an_expired_job_runs_again_and_its_clocks_count_anew(client: Client) -> None:
    busy = client.submit(text("steps=60"))
    until(lambda: busy.status().state is State.RUNNING)
    # Long enough for it to begin in time when it runs again.
    late = client.submit(text("late", queue_timeout=3))
    revoked = client.submit(text("revoked"), expires=0.2)
    time.sleep(3.2)
    busy.cancel()
    assert isinstance(late.wait(timeout=10), Failure)
    assert isinstance(revoked.wait(timeout=10), Failure)

    assert late.retry() is RetryAnswer.RETRYING
    assert isinstance(late.wait(timeout=10), Success)
    until(lambda: revoked.retry() is RetryAnswer.RETRYING)
    assert isinstance(revoked.wait(timeout=10), Success)


def test_a_job_that_is_not_over_or_was_well_is_not_run_again(client: Client, server: Any) -> None:
    running = client.submit(text("steps=60"))
    until(lambda: running.status().state is State.RUNNING)
    waiting = client.submit(text("x"))

    assert running.retry() is RetryAnswer.NOT_FINISHED
    assert waiting.retry() is RetryAnswer.NOT_FINISHED
    running.cancel()
    waiting.wait(timeout=10)
    assert waiting.retry() is RetryAnswer.SUCCEEDED
    assert client.retry("no-such-job") is RetryAnswer.NOT_FOUND
    assert client.retry(new_id()) is RetryAnswer.NOT_KEPT


def test_a_deleted_jobs_message_is_deleted_too(client: Client, server: Any) -> None:
    handle = client.submit(text("bad secret"))
    handle.wait(timeout=10)
    assert b"bad secret" in base64.b64decode(json.loads(server.hget(keys.KEPT, handle.id))["body"])

    handle.delete()

    assert not server.hexists(keys.KEPT, handle.id)
    assert handle.retry() is RetryAnswer.NOT_KEPT


def test_a_job_that_is_being_deleted_is_not_put_back(
    client: Client, server: Any, module_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = client.submit(text("fail"))
    handle.wait(timeout=10)
    store, answers = client._server.artifacts, []

    async def retry() -> RetryAnswer:
        async with AsyncClient(module_redis) as other:
            return await other.retry(handle.id)

    def slow(uris: Sequence[str]) -> None:
        answers.extend([handle.retry(), asyncio.run(retry())])

    monkeypatch.setattr(store, "delete", slow)
    assert handle.delete() is DeleteAnswer.DELETED

    assert answers == [RetryAnswer.NOT_KEPT] * 2
    assert handle.status().state is State.GONE
    assert handle.retry() is RetryAnswer.NOT_KEPT


def test_a_job_that_was_put_back_while_it_was_deleted_is_not_over(
    client: Client, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = client.submit(text("waits"), pool="later", allow_unserved=True)
    waiting = keys.queue("stoker.later", 3, keys.PRIORITY_STEPS)
    assert handle.cancel() is CancelAnswer.CANCELED

    def slow(uris: Sequence[str]) -> None:
        # A worker comes upon the message of the canceled job, and keeps it.
        server.hset(keys.DEAD, handle.id, server.lpop(waiting))
        assert handle.retry() is RetryAnswer.RETRYING

    monkeypatch.setattr(client._server.artifacts, "delete", slow)

    assert handle.delete() is DeleteAnswer.NOT_FINISHED
    assert handle.status().state is State.QUEUED
    assert server.llen(waiting) == 1
    server.delete(waiting)


def test_a_dead_letter_whose_failure_has_expired_is_deleted(client: Client, server: Any) -> None:
    job_id = new_id()
    server.hset(keys.DEAD, job_id, "{}")

    assert client.delete(job_id) is DeleteAnswer.DELETED
    assert not server.hexists(keys.DEAD, job_id)
    assert client.delete(new_id()) is DeleteAnswer.NOT_FOUND


def test_of_two_retries_at_once_one_counts(client: Client) -> None:
    handle = client.submit(text("bad"))
    handle.wait(timeout=10)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: handle.retry(), range(8)))

    assert answers.count(RetryAnswer.RETRYING) >= 1
    assert handle.wait(timeout=10).times.attempts == 0
    # Each retry that was granted followed an end of the job.
    assert set(answers) <= {RetryAnswer.RETRYING, RetryAnswer.NOT_FINISHED, RetryAnswer.NOT_KEPT}


def test_a_stock_producers_job_runs_again_too(client: Client, stock: Producer) -> None:
    job_id = stock.send_task(CLASSIFY, "fail")
    stock.get(job_id)

    assert client.retry(job_id) is RetryAnswer.RETRYING
    assert client.wait(job_id, timeout=10).times.attempts == 2
