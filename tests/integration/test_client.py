"""A producer and a worker, each a process of its own, over a real Redis server."""

import time
from pathlib import Path

import pytest

from stoker import (
    CancelAnswer,
    Client,
    Failure,
    State,
    Success,
    TextClassification,
    errors,
)
from stoker_config.app import make_app
from stoker_config.settings import Settings
from tests.support.until import until
from tests.support.worker import Worker, worker


def text(words: str) -> TextClassification:
    return TextClassification(inputs=words)


def test_a_job_succeeds_and_says_where_its_time_went(client: Client, fake_worker: Worker) -> None:
    job = TextClassification(inputs="one two three", metadata={"order": "7"})

    result = client.submit(job).result(timeout=10)

    assert result.output == [{"label": "one two three", "score": 1.0}]
    assert result.task == "text-classification"
    assert result.model == "fake@local"
    assert result.metadata == {"order": "7"}
    assert (result.timing.batch_size, result.timing.tokens, result.timing.padded_tokens) == (
        1,
        3,
        3,
    )
    assert result.timing.queue_ms >= 0


def test_a_failing_job_fails_alone(client: Client, fake_worker: Worker) -> None:
    words = ["sleep=0.3", *(f"good {n}" for n in range(15)), "fail", "bad"]
    handles = client.submit_many([text(each) for each in words])

    results = {handle.id: result for handle, result in client.as_completed(handles, timeout=20)}

    by_words = {words[at]: results[handle.id] for at, handle in enumerate(handles)}
    assert all(isinstance(by_words[each], Success) for each in words[:16])
    failed = by_words["fail"]
    refused = by_words["bad"]
    assert isinstance(failed, Failure)
    assert failed.error == "internal"
    assert isinstance(refused, Failure)
    assert refused.error == "invalid_input"
    with pytest.raises(errors.InvalidInput, match="the word bad is not taken"):
        handles[-1].result(timeout=1)


def test_a_list_input_gives_a_list(client: Client, fake_worker: Worker) -> None:
    result = client.submit(TextClassification(inputs=["a", "b c"])).result(timeout=10)

    assert [one[0]["label"] for one in result.output] == ["a", "b c"]


def test_states_and_the_four_answers_of_cancel(client: Client, fake_worker: Worker) -> None:
    running = client.submit(text("sleep=4"))
    deadline = time.monotonic() + 5
    while running.status().state is not State.RUNNING and time.monotonic() < deadline:
        time.sleep(0.01)
    queued = client.submit(text("later"))

    assert running.status().state is State.RUNNING
    assert queued.status().state is State.QUEUED
    assert running.cancel() is CancelAnswer.CANCELING
    assert running.status().state is State.CANCELING
    assert queued.cancel() is CancelAnswer.CANCELED
    assert queued.status() == client.status(queued.id)
    assert queued.status().state is State.CANCELED
    assert queued.cancel() is CancelAnswer.ALREADY_FINISHED
    assert client.cancel("no-such-job") is CancelAnswer.NOT_FOUND
    result = running.wait(timeout=20)
    assert isinstance(result, Failure)
    assert result.status == "canceled"
    assert client.status("no-such-job").state is State.UNKNOWN


def test_celerys_revoke_with_terminate_discards_a_running_job_and_spares_its_neighbours(
    client: Client, redis_url: str, fake_worker: Worker
) -> None:
    app = make_app(Settings.model_validate({"redis_url": redis_url}))
    handles = client.submit_many([text("sleep=4"), text("neighbour")])
    until(lambda: handles[0].status().state is State.RUNNING)

    app.control.revoke(handles[0].id, terminate=True)

    result = handles[0].wait(timeout=20)
    assert isinstance(result, Failure)
    assert result.status == "canceled"
    assert isinstance(handles[1].wait(timeout=20), Success)


def test_a_canceled_job_never_runs_when_a_worker_starts(
    client: Client, redis_url: str, tmp_path: Path
) -> None:
    handle = client.submit(text("kill"), allow_unserved=True)
    assert handle.cancel() is CancelAnswer.CANCELED

    with worker(redis_url, tmp_path) as running:
        assert client.submit(text("after")).result(timeout=10).output[0]["label"] == "after"
        assert running.process.poll() is None


def test_jobs_that_nobody_serves_are_refused(client: Client, fake_worker: Worker) -> None:
    with pytest.raises(errors.Unserved, match="known pools: default"):
        client.submit(text("x"), pool="elsewhere")

    handle = client.submit(text("x"), pool="elsewhere", allow_unserved=True)

    status = handle.status()
    assert status.state is State.QUEUED
    assert status.waiting_for == "no worker serves the pool elsewhere; served now: default"


def test_large_inputs_travel_beside_the_message(client: Client, fake_worker: Worker) -> None:
    words = "word " * 40_000

    result = client.submit(TextClassification(inputs=words)).result(timeout=10)

    assert result.output[0]["label"] == words
    assert result.timing.tokens == 40_000


def test_a_job_at_an_idle_worker_runs_at_once_alone(client: Client, fake_worker: Worker) -> None:
    timings = [client.submit(text("lone")).result(timeout=10).timing for _ in range(5)]

    assert [timing.batch_size for timing in timings] == [1] * 5
    assert [timing.forwards for timing in timings] == [1] * 5
    # A batcher that waits for others keeps each job; a busy machine delays one now and then.
    assert min(timing.ready_ms for timing in timings) < 50


def test_a_backlog_shares_forward_passes(client: Client, fake_worker: Worker) -> None:
    # The first one holds the device for as long as the others take to arrive.
    jobs = [text("sleep=3")] + [text("word " * (1 + n % 60)) for n in range(512)]
    handles = client.submit_many(jobs)

    results = [result for _, result in client.as_completed(handles, timeout=60)]

    timings = [result.timing for result in results if isinstance(result, Success)]
    assert len(timings) == 513
    assert len({timing.batch for timing in timings}) <= 513 / 4
    tokens, padded = (
        sum(getattr(timing, name) for timing in timings) for name in ("tokens", "padded_tokens")
    )
    assert tokens / padded >= 0.9
