"""A job's life between real processes: its states, its times and its three clocks."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from stoker import Client, Failure, State, Success, TextClassification, errors, make_job
from stoker.ids import new_id
from stoker_config import keys
from stoker_config.settings import Settings
from tests.doubles.stock import CLASSIFY, Producer, Raised
from tests.support.until import until
from tests.support.worker import Worker

# Two processes' ideas of the server's clock: as far apart as an answer takes.
APART = timedelta(seconds=1)

pytestmark = [
    pytest.mark.usefixtures("module_worker"),
    pytest.mark.both_transports,
    pytest.mark.both_lanes,
]


@pytest.fixture
def client(module_client: Client) -> Client:
    return module_client


def text(words: str, **fields: Any) -> TextClassification:
    return TextClassification.model_validate({"inputs": words, **fields})


def failure(client: Client, job: TextClassification) -> Failure:
    result = client.submit(job).wait(timeout=20)
    assert isinstance(result, Failure)
    return result


# -- states and times ------------------------------------------------------------------------------


def test_a_jobs_times_are_told_while_it_lives_and_with_its_result(client: Client) -> None:
    handle = client.submit(text("sleep=2"))
    until(lambda: handle.status().state is State.RUNNING)
    running = handle.status()
    queued = client.submit(text("x"))
    waiting = queued.status()
    result = handle.wait(timeout=10)
    queued.wait(timeout=10)
    done = handle.status()

    assert (running.terminal, running.times.attempts, running.times.finished_at) == (False, 1, None)
    assert waiting.state is State.QUEUED
    assert waiting.times.queued_at is not None
    assert (waiting.times.started_at, waiting.times.attempts) == (None, 0)
    assert (done.state, done.terminal) == (State.SUCCEEDED, True)
    assert done.times == result.times
    assert result.times.queued_at == running.times.queued_at
    assert result.times.queued_at is not None
    assert result.times.started_at is not None
    assert result.times.finished_at is not None
    assert result.times.queued_at - APART < result.times.started_at <= result.times.finished_at
    assert result.times.attempts == 1


def test_a_job_that_never_started_says_so(client: Client) -> None:
    times = failure(client, text("bad")).times

    assert times.started_at is None
    assert times.attempts == 0
    assert times.finished_at is not None


def test_a_canceled_job_has_times_too(client: Client) -> None:
    running = client.submit(text("steps=60"))
    until(lambda: running.status().state is State.RUNNING)
    queued = client.submit(text("x"))
    queued.cancel()
    running.cancel()

    early, late = queued.wait(timeout=10).times, running.wait(timeout=10).times

    assert early.queued_at is not None
    assert (early.started_at, early.attempts) == (None, 0)
    assert early.finished_at is not None
    assert early.finished_at > early.queued_at - APART
    assert late.started_at is not None
    assert late.attempts == 1


def test_an_id_that_was_never_given_is_not_one_whose_result_is_gone(
    client: Client, module_redis: str
) -> None:
    handle = client.submit(text("x"))
    handle.wait(timeout=10)
    with redis.Redis.from_url(module_redis) as server:
        server.delete(f"celery-task-meta-{handle.id}")

    assert handle.status().state is State.GONE
    assert handle.status().terminal
    for unknown in (str(uuid.uuid4()), "no-such-job", new_id()[:-1] + "?"):
        assert client.status(unknown).state is State.UNKNOWN
        assert not client.status(unknown).terminal


def test_a_canceled_job_whose_worker_died_is_not_queued_again(
    client: Client, module_redis: str
) -> None:
    job = new_id()
    with redis.Redis.from_url(module_redis) as server:
        # As a killed worker leaves it once its message is back: marked as running no more.
        server.hset(keys.JOBS, job, "[1]")
        server.set(keys.canceled(job), "1")
        status = client.status(job)
        server.hdel(keys.JOBS, job)

    assert (status.state, status.terminal) == (State.CANCELING, False)
    assert status.waiting_for is None


@pytest.mark.own_transport("a queue that has filled the server's memory is worked off")
def test_a_full_server_is_worked_off_and_results_that_would_fill_it_more_wait(
    client: Client, module_redis: str, module_worker: Worker, stock: Producer
) -> None:
    stock.state("no job")  # its process is started by its first call, and takes its time
    # Inputs that travel beside their message: what is stored is larger than what goes.
    beside = Settings.model_validate({"redis_url": module_redis, "inline_limit": 100})
    with redis.Redis.from_url(module_redis) as server, Client(settings=beside) as other:
        # What is stored of a failure says where in the code it was, so its message is long too.
        fails = text("fail", metadata={str(at): "long" * 50 for at in range(8)})
        handles = [client.submit(each) for each in (text("sleep=3"), text("x"), fails)]
        foreign = stock.send_task(CLASSIFY, kwargs={"inputs": "foreign"})
        until(lambda: handles[0].status().state is State.RUNNING)
        server.config_set("maxmemory", 1)
        try:
            assert [each.wait(timeout=20).status for each in handles] == [
                *("succeeded", "succeeded", "failed")
            ]
            assert stock.get(foreign)["output"][0]["label"] == "foreign"
            assert "no memory for results" not in module_worker.lines()

            server.config_set("maxmemory", 0)
            large = other.submit(text("sleep=3" + " word" * 3000))
            until(lambda: large.status().state is State.RUNNING)
            server.config_set("maxmemory", 1)
            until(lambda: "no memory for results" in module_worker.lines())
            assert large.status().state is State.RUNNING
        finally:
            server.config_set("maxmemory", 0)

        result = large.wait(timeout=30)
        assert isinstance(result, Success)
        assert result.times.attempts == 1


# -- the three clocks ------------------------------------------------------------------------------


def test_a_job_that_waits_too_long_expires_and_says_where(client: Client) -> None:
    busy = client.submit(text("steps=60"))
    until(lambda: busy.status().state is State.RUNNING)

    handle = client.submit(text("kill", queue_timeout=0.2))
    time.sleep(1)
    busy.cancel()
    result = handle.wait(timeout=10)

    assert isinstance(result, Failure)
    assert (result.status, result.error) == ("expired", "queue_timeout")
    assert result.details["phase"] == "queue"
    assert result.retryable
    assert handle.status().state is State.EXPIRED
    with pytest.raises(errors.QueueTimeout, match=r"its queue_timeout of 0\.2 s"):
        handle.result(timeout=1)


def test_a_job_that_runs_too_long_ends_between_two_steps(client: Client) -> None:
    handles = client.submit_many([text("steps=60", run_timeout=0.3), text("steps=0.6")])

    late, neighbour = (handle.wait(timeout=20) for handle in handles)

    assert isinstance(late, Failure)
    assert (late.status, late.error) == ("expired", "run_timeout")
    assert late.details["phase"] == "run"
    assert late.times.started_at is not None
    assert isinstance(neighbour, Success)


def test_a_deadline_is_one_of_both(client: Client) -> None:
    past = failure(client, text("x", deadline=datetime.now(UTC) - timedelta(seconds=1)))
    soon = failure(client, text("steps=60", deadline=datetime.now(UTC) + timedelta(seconds=3)))

    assert (past.status, past.error, past.details["phase"]) == ("expired", "expired", "queue")
    assert (soon.status, soon.error, soon.details["phase"]) == ("expired", "expired", "run")


def test_canceling_a_job_of_many_steps_ends_it_soon(client: Client) -> None:
    handle, neighbour = client.submit_many([text("steps=60"), text("steps=2")])
    until(lambda: handle.status().state is State.RUNNING)
    handle.cancel()

    assert isinstance(handle.wait(timeout=20), Failure)
    assert handle.status().state is State.CANCELED
    assert isinstance(neighbour.wait(timeout=20), Success)


def test_a_stock_producer_sets_clocks_too(stock: Producer) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()

    job_id = stock.send_task(CLASSIFY, kwargs={"inputs": "x", "deadline": past})

    failed = stock.get(job_id)
    assert isinstance(failed, Raised)
    assert failed.type == "Expired"
    assert stock.state(job_id) == "FAILURE"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"queue_timeout": 0}, "queue_timeout: takes number > 0"),
        ({"run_timeout": "soon"}, "run_timeout: takes number > 0"),
        ({"deadline": "2030-01-01T00:00:00"}, "deadline: takes time with its time zone"),
    ],
)
def test_a_clock_that_makes_no_sense_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(errors.InvalidInput, match=problem):
        make_job("text-classification", {"inputs": "x", **fields})
