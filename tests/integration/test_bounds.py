"""Bounds: how many jobs of a pool or a tenant may wait, held against producers that race."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from stoker import AsyncClient, Client, JobHandle, State, TextClassification, errors, make_job
from stoker.bounds import Bounds
from stoker.message import Message
from stoker.publish import publish
from stoker_config import keys
from stoker_config.settings import Settings
from stoker_tasks.job import Job
from tests.support.until import until
from tests.support.worker import ROOT, Worker, environment

# No worker reads this pool's queue.
ASIDE = "aside"
LISTS = [keys.queue(f"stoker.{ASIDE}", step, keys.PRIORITY_STEPS) for step in keys.PRIORITY_STEPS]


def text(words: str = "x", **fields: Any) -> TextClassification:
    return TextClassification.model_validate({"inputs": words, **fields})


def bounded(url: str, **limits: int) -> Client:
    return Client(settings=Settings.model_validate({"redis_url": url, **limits}))


def send(client: Client, *jobs: Job, pool: str = ASIDE) -> list[JobHandle]:
    return client.submit_many(jobs, pool=pool, allow_unserved=True)


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as server:
        yield server


def length(server: Any) -> int:
    return sum(server.llen(each) for each in LISTS)


# -- held ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"queue_limit": 100}, {"tenant_limit": 100}])
def test_producers_that_race_do_not_pass_a_bound(
    redis_url: str, server: Any, limits: dict[str, int]
) -> None:
    def race(number: int) -> list[str]:
        taken = []
        with bounded(redis_url, **limits) as client:
            for at in range(12):
                priority = ("high", "normal", "low")[at % 3]
                jobs = [text(priority=priority, tenant="one") for _ in range(1 + number % 3)]
                try:
                    taken += [handle.id for handle in send(client, *jobs)]
                except errors.QueueFull:
                    continue
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [job_id for ids in pool.map(race, range(8)) for job_id in ids]

    assert 98 <= len(taken) <= 100
    assert len(taken) == len(set(taken)) == length(server)
    assert {each.decode() for each in server.hkeys(keys.JOBS)} == set(taken)


def test_a_tenants_bound_holds_over_all_pools_and_for_nobody_else(redis_url: str) -> None:
    with bounded(redis_url, tenant_limit=2) as client:
        send(client, text(tenant="one"))
        send(client, text(tenant="one"), pool="other")
        with pytest.raises(errors.QueueFull, match=r"this tenant has 2 .*STOKER_TENANT_LIMIT"):
            send(client, text(tenant="one"), pool="third")
        [mine] = send(client, text(tenant="two"))
        send(client, *[text() for _ in range(9)])

        # The tenant that is kept with its place is not taken for a part of it.
        status = mine.status()
        assert status.state is State.QUEUED
        assert status.waiting_for is not None
        assert f"no worker serves the pool {ASIDE}" in status.waiting_for


def test_one_full_tenant_has_the_whole_transaction_refused(redis_url: str, server: Any) -> None:
    with bounded(redis_url, tenant_limit=2) as client:
        send(client, text(tenant="one"))
        with pytest.raises(errors.QueueFull) as full:
            send(client, text(tenant="two"), text(tenant="one"), text(tenant="one"))

    assert full.value.retryable
    assert full.value.details == {
        "tenant": "one",
        "limit": 2,
        "waiting": 1,
        "jobs": 2,
        "taken": [],
        "retry_after": 5,
    }
    assert length(server) == server.hlen(keys.JOBS) == 1
    assert not server.exists(keys.tenant("two"))


def test_what_earlier_transactions_took_stands_and_is_named(redis_url: str, server: Any) -> None:
    with bounded(redis_url, queue_limit=600) as client:
        with pytest.raises(errors.QueueFull) as full:
            send(client, *[text(str(at)) for at in range(700)])
        details = full.value.details
        taken = [client.handle(job_id) for job_id in details.pop("taken")]

        assert details == {
            "pool": ASIDE,
            "limit": 600,
            "waiting": 500,
            "jobs": 200,
            "retry_after": 5,
        }
        assert len(taken) == length(server) == 500
        assert {handle.status().state for handle in (taken[0], taken[-1])} == {State.QUEUED}
        send(client, *[text(str(at)) for at in range(100)])


def test_more_at_once_than_there_may_be_is_not_to_be_repeated(redis_url: str, server: Any) -> None:
    with (
        bounded(redis_url, queue_limit=3) as client,
        pytest.raises(errors.QueueFull, match="submit at most 3 at once") as full,
    ):
        send(client, *[text() for _ in range(4)])

    assert not full.value.retryable
    assert "retry_after" not in full.value.details
    assert length(server) == 0


def test_a_known_key_is_answered_by_a_full_queue(redis_url: str, server: Any) -> None:
    first, second = text("1", idempotency_key="1"), text("2", idempotency_key="2")
    with bounded(redis_url, queue_limit=2, tenant_limit=9) as client:
        known = send(client, first, second)
        with pytest.raises(errors.QueueFull):
            send(client, first, text("3", idempotency_key="3"))

        assert [handle.id for handle in send(client, second, first, second)] == [
            *(known[1].id, known[0].id, known[1].id)
        ]
        server.rpop(LISTS[1])
        # The refused one has left nothing under its key.
        [third] = send(client, text("3", idempotency_key="3"))
        assert third.id not in {handle.id for handle in known}
        # Twice in one call it is one job, and takes one place.
        server.rpop(LISTS[1])
        one, again = send(client, *[text("4", idempotency_key="4")] * 2)
        assert one.id == again.id


def test_asyncio_is_refused_alike(redis_url: str, server: Any) -> None:
    settings = Settings.model_validate({"redis_url": redis_url, "queue_limit": 2})

    async def test() -> None:
        async with AsyncClient(settings=settings) as client:
            await client.submit_many([text(), text()], pool=ASIDE, allow_unserved=True)
            with pytest.raises(errors.QueueFull):
                await client.submit(text(), pool=ASIDE, allow_unserved=True)

    asyncio.run(test())
    assert length(server) == 2


def test_the_command_line_says_that_it_is_full_and_ends_with_the_code_for_a_refusal(
    redis_url: str, server: Any
) -> None:
    def submit(*options: str, lines: str = "") -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "stoker.cli.main", "submit", "text-classification"]
        return subprocess.run(
            [*command, *options, "--pool", ASIDE, "--allow-unserved"],
            input=lines,
            capture_output=True,
            text=True,
            env=environment(redis_url, queue_limit=2),
            cwd=ROOT,
            timeout=60,
            check=False,
        )

    many = submit("-", lines='{"inputs": "a"}\n{"inputs": "b"}\n{"inputs": "c"}\n')
    one = submit("--inputs", "x")

    first, second, third = map(json.loads, many.stdout.splitlines())
    assert {"id"} < set(first) == set(second)
    assert third["error"] == "queue_full"
    assert (many.returncode, one.returncode) == (1, 1)
    assert one.stdout == ""
    assert one.stderr.startswith("stoker: queue_full: this pool's queue has 2 jobs and may have 2")
    assert length(server) == 2


# -- the hint --------------------------------------------------------------------------------------


def test_the_hint_follows_the_rate_at_which_jobs_leave(redis_url: str, server: Any) -> None:
    bounds = Bounds(pool=100)

    with bounded(redis_url) as client:

        def push(count: int, now: float) -> None:
            jobs = [make_job("text-classification", {"inputs": "x"}) for _ in range(count)]
            messages = client.outgoing.messages(jobs, ASIDE)
            publish(client.app, server, messages, now, bounds)

        def hint(count: int, now: float) -> int:
            with pytest.raises(errors.QueueFull) as full:
                push(count, now)
            seconds: int = full.value.details["retry_after"]
            return seconds

        push(100, 1000)
        assert hint(1, 1001) == 5
        server.rpop(LISTS[1], 50)
        push(50, 1010)
        # 50 in 10 seconds.
        assert hint(20, 1011) == 4
        assert hint(1, 1012) == 1
        server.rpop(LISTS[1], 2)
        # 2 in 10 seconds.
        assert hint(7, 1020) == 25
        assert hint(100, 1021) == 60
        # Nothing in a minute.
        assert hint(7, 1081) == 5
        assert 0 < server.ttl(keys.pace(f"pool:stoker.{ASIDE}")) <= 60


# -- freed -----------------------------------------------------------------------------------------


def hand_over(server: Any, handle: JobHandle) -> None:
    """Move the one message from where no worker reads to the worker's queue."""
    [envelope] = server.lrange(LISTS[1], 0, -1)
    server.delete(LISTS[1])
    message = json.loads(envelope)
    info = message["properties"]["delivery_info"]
    info.update(routing_key="stoker", redelivered=bool(server.exists(keys.deaths(handle.id))))
    server.lpush(keys.queue("stoker", 3, keys.PRIORITY_STEPS), json.dumps(message))


def hand_over_late(server: Any, handle: JobHandle) -> None:
    # By more than two processes' ideas of the server's clock are apart.
    time.sleep(0.5)
    hand_over(server, handle)


def cancel(server: Any, handle: JobHandle) -> None:
    handle.cancel()
    assert not server.exists(keys.tenant("t"))
    hand_over(server, handle)


def cancel_running(server: Any, handle: JobHandle) -> None:
    hand_over(server, handle)
    until(lambda: handle.status().state is State.RUNNING)
    handle.cancel()


def be_the_death_of_workers(server: Any, handle: JobHandle) -> None:
    server.set(keys.deaths(handle.id), 3)
    hand_over(server, handle)


HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)
ENDS: dict[str, tuple[dict[str, Any], Callable[[Any, JobHandle], None], State]] = {
    "success": ({}, hand_over, State.SUCCEEDED),
    "failure": ({"inputs": "fail"}, hand_over, State.FAILED),
    "bad input": ({"inputs": "bad"}, hand_over, State.FAILED),
    "cancel": ({}, cancel, State.CANCELED),
    "cancel while it runs": ({"inputs": "steps=60"}, cancel_running, State.CANCELED),
    "queue_timeout": ({"queue_timeout": 0.001}, hand_over_late, State.EXPIRED),
    "deadline": ({"deadline": HOUR_AGO}, hand_over, State.EXPIRED),
    "expires": ({}, hand_over, State.EXPIRED),
    "dead letter": ({}, be_the_death_of_workers, State.FAILED),
}


@pytest.mark.both_transports
@pytest.mark.parametrize("end", ENDS)
def test_each_end_of_a_job_frees_its_tenants_place(
    module_redis: str, module_worker: Worker, end: str
) -> None:
    fields, then, state = ENDS[end]
    job = text(**fields, tenant="t")
    expires = HOUR_AGO if end == "expires" else None
    with redis.Redis.from_url(module_redis) as server, bounded(module_redis, tenant_limit=1) as one:
        handle = one.submit(job, pool=ASIDE, expires=expires, allow_unserved=True)
        with pytest.raises(errors.QueueFull):
            send(one, text(tenant="t"), pool="other")

        then(server, handle)

        until(lambda: handle.status().state is state)
        until(lambda: not server.exists(keys.tenant("t")))
        one.submit(text(tenant="t")).result(timeout=20)
        if end == "dead letter":
            assert one.discard(handle.id)
        until(lambda: not server.exists(keys.tenant("t"), keys.JOBS))


@pytest.mark.both_transports
def test_a_queues_place_is_free_once_a_worker_has_come_upon_the_message(
    module_redis: str, module_worker: Worker
) -> None:
    with bounded(module_redis, queue_limit=1) as client:
        for words in ("x", "fail", "bad", "x"):
            client.submit(text(words)).wait(timeout=20)
        [waiting] = send(client, text(), pool="late")
        waiting.cancel()
        with pytest.raises(errors.QueueFull):
            send(client, text(), pool="late")


def test_a_place_that_was_not_given_back_is_found(redis_url: str, server: Any) -> None:
    server.sadd(keys.tenant("one"), *(f"ended-{at}" for at in range(90)))

    with bounded(redis_url, tenant_limit=100) as client:
        send(client, *[text(tenant="one") for _ in range(60)])
        send(client, *[text(tenant="one") for _ in range(40)])
        with pytest.raises(errors.QueueFull):
            send(client, text(tenant="one"))


# -- free of charge --------------------------------------------------------------------------------


@pytest.mark.both_transports
def test_where_nothing_is_bounded_nothing_is_counted(
    module_redis: str, module_worker: Worker
) -> None:
    with redis.Redis.from_url(module_redis) as server, bounded(module_redis) as client:
        client.submit(text()).result(timeout=20)
        server.config_resetstat()
        client.submit(text(tenant="t")).result(timeout=20)
        client.submit_many([text(tenant="t") for _ in range(600)])[-1].result(timeout=20)
        until(lambda: not server.exists(keys.JOBS))

        called = {name.removeprefix("cmdstat_") for name in server.info("commandstats")}
        assert "lpush" in called
        # The worker has scripts of its own to run now and then, so `eval` is looked for below.
        assert not called & {"sadd", "srem", "scard"}
        assert not server.keys("stoker:tenant:*")


def test_where_nothing_is_bounded_no_script_is_asked(redis_url: str, server: Any) -> None:
    with bounded(redis_url) as client:
        send(client, text())
        server.config_resetstat()
        send(client, *[text(tenant="t")] * 600)

    called = {name.removeprefix("cmdstat_") for name in server.info("commandstats")}
    assert "lpush" in called
    assert not called & {"eval", "evalsha"}


def test_a_messages_tenant_is_not_a_header_unless_it_is_counted(redis_url: str) -> None:
    message = Message(
        id="a", task="fill-mask", kwargs={"tenant": "t"}, pool=ASIDE, priority="normal"
    )
    with bounded(redis_url) as client, redis.Redis.from_url(redis_url) as server:
        for bounds, header in ((Bounds(), None), (Bounds(tenant=1), "t")):
            publish(client.app, server, [message], 1.0, bounds)
            sent = json.loads(server.rpop(LISTS[1]))
            assert sent["headers"].get("stoker-counted") == header
