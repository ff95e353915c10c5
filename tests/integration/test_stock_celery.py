"""A stock Celery app drives Stoker: what Celery documents about tasks holds for jobs.

The producer runs in a process in which nothing of Stoker is imported; see `tests.doubles.stock`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from celery import chain, chord, group
from celery.canvas import Signature
from kombu.utils.uuid import uuid

from stoker import (
    CancelAnswer,
    Client,
    Failure,
    State,
    TextClassification,
    errors,
    make_job,
)
from stoker_config import keys
from stoker_config.app import make_app
from stoker_config.settings import Settings
from tests.doubles.stock import CLASSIFY, FILL, GENERATE, Producer, Raised, job, producer
from tests.integration.conftest import celery_url
from tests.support.until import until
from tests.support.worker import Worker, worker

pytestmark = [
    pytest.mark.usefixtures("module_worker"),
    pytest.mark.both_transports,
    pytest.mark.both_lanes,
]

UNKNOWN_PARAMETER = {"inputs": "x", "parameters": {"top_p": 2}}
UNKNOWN_FIELD = {"inputs": "x", "temperature": 2}


def labels(result: dict[str, object]) -> list[str]:
    output = result["output"]
    assert isinstance(output, list)
    return [one["label"] for one in output]


@pytest.fixture(scope="module")
def narrow_worker(
    module_redis: str, transport: str, fast_lane: bool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """A worker that holds one job at a time, so that others wait in the queue."""
    with worker(
        module_redis,
        tmp_path_factory.mktemp("narrow"),
        queues="stoker.narrow",
        name="n1",
        prefetch=1,
        transport=transport,
        fast_lane=fast_lane,
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left_behind(module_redis: str) -> Iterator[None]:
    """Whatever becomes of a job: in the end no worker holds it, and no list calls it queued."""
    yield
    with redis.Redis.from_url(module_redis) as server:
        until(lambda: not server.exists("unacked", keys.JOBS, keys.RUNNING))


def hold(stock: Producer, client: Client, seconds: float) -> str:
    """Keep the worker's device busy; gives the job's ID once it runs."""
    job_id = stock.send_task(CLASSIFY, f"sleep={seconds}")
    until(lambda: client.status(job_id).state is State.RUNNING)
    return job_id


@contextmanager
def held(stock: Producer, client: Client, queue: str = "stoker") -> Iterator[None]:
    """Keep a worker's device busy until the context ends, however long it takes."""
    job_id = stock.send_task(CLASSIFY, "steps=60", queue=queue)
    try:
        until(lambda: client.status(job_id).state is State.RUNNING)
        yield
    finally:
        client.cancel(job_id)


def revoked_at(redis_url: str, running: Worker, job_id: str) -> None:
    """Wait until a worker has heard that a job is revoked."""
    with make_app(Settings.model_validate({"redis_url": redis_url})) as app:
        ask = app.control.inspect([running.name], timeout=5, limit=1)
        until(lambda: job_id in str(ask.revoked()))


# -- one job -------------------------------------------------------------------------------------


def test_send_task_and_get(stock: Producer) -> None:
    job_id = stock.send_task(CLASSIFY, kwargs={"inputs": "a b", "parameters": {"top_k": 2}})

    result = stock.get(job_id)

    assert labels(result) == ["a b", "a b"]
    fields = {"output", "artifacts", "task", "model", "timing", "metadata", "cached"}
    assert result.keys() == fields
    assert result["task"] == "text-classification"
    assert result["model"] == "fake@local"
    assert stock.state(job_id) == "SUCCESS"


def test_a_positional_string_is_the_inputs(stock: Producer) -> None:
    assert labels(stock.get(stock.send_task(CLASSIFY, "a b"))) == ["a b"]


def test_an_alias_is_a_task_too(stock: Producer) -> None:
    result = stock.get(stock.send_task("stoker.sentiment_analysis", "a b"))

    assert result["task"] == "text-classification"


def test_the_name_of_a_translation_may_say_its_languages(stock: Producer) -> None:
    result = stock.get(stock.send_task("stoker.translation_en_to_fr", "a b"))

    assert result["task"] == "translation"


def test_countdown_delays_a_job(stock: Producer) -> None:
    sent = time.monotonic()
    later = stock.send_task(CLASSIFY, "later", countdown=1)
    now = stock.send_task(CLASSIFY, "now")

    stock.get(now)
    assert labels(stock.get(later)) == ["later"]
    assert time.monotonic() - sent >= 0.9


def test_a_job_that_expires_while_it_waits_never_runs(
    stock: Producer, module_client: Client, module_worker: Worker
) -> None:
    with held(stock, module_client):
        job_id = stock.send_task(CLASSIFY, "kill", expires=0.3)
        time.sleep(0.5)

    assert stock.get(job_id) == Raised("TaskRevokedError", ("expired",), "expired")
    assert stock.state(job_id) == "REVOKED"
    assert module_client.status(job_id).state is State.EXPIRED
    stock.get(stock.send_task(CLASSIFY, "the worker lives"))


def test_a_revoked_job_that_waits_in_the_worker_never_runs(
    stock: Producer, module_client: Client
) -> None:
    with held(stock, module_client):
        job_id = stock.send_task(CLASSIFY, "kill")
        until(lambda: module_client.status(job_id).state is State.QUEUED)

        stock.revoke(job_id)

        assert stock.get(job_id) == Raised("TaskRevokedError", ("revoked",), "revoked")
    assert stock.state(job_id) == "REVOKED"
    stock.get(stock.send_task(CLASSIFY, "the worker lives"))
    # Nothing is left behind that would call it queued.
    assert module_client.status(job_id).state is State.CANCELED


def test_a_job_that_waits_in_the_worker_can_be_canceled(
    stock: Producer, module_client: Client
) -> None:
    with held(stock, module_client):
        job_id = stock.send_task(CLASSIFY, "kill")
        until(lambda: module_client.status(job_id).state is State.QUEUED)
        queued_at = module_client.status(job_id).times.queued_at

        assert module_client.cancel(job_id) is CancelAnswer.CANCELED

        status = module_client.status(job_id)
    assert status.state is State.CANCELED
    assert queued_at is not None
    assert status.times.queued_at == queued_at
    stock.get(stock.send_task(CLASSIFY, "the worker lives"))


def test_a_revoked_job_that_waits_in_the_queue_never_runs(
    stock: Producer, module_client: Client, module_redis: str, narrow_worker: Worker
) -> None:
    queue = "stoker.narrow"
    with held(stock, module_client, queue):
        job_id = stock.send_task(CLASSIFY, "kill", queue=queue)

        stock.revoke(job_id)
        revoked_at(module_redis, narrow_worker, job_id)

    assert stock.get(job_id) == Raised("TaskRevokedError", ("revoked",), "revoked")
    stock.get(stock.send_task(CLASSIFY, "the worker lives", queue=queue))


def test_revoking_a_running_job_changes_nothing_unless_it_is_terminated(
    stock: Producer,
    module_client: Client,
    module_redis: str,
    module_worker: Worker,
    narrow_worker: Worker,
) -> None:
    app = make_app(Settings.model_validate({"redis_url": module_redis}))
    # The other worker hears of it as well, and does not have the job.
    until(lambda: app.control.ping([narrow_worker.name], timeout=5, limit=1))
    ask = app.control.inspect([module_worker.name], timeout=5, limit=1)
    running = hold(stock, module_client, 3)
    until(lambda: running in str(ask.active()))
    stock.revoke(running)
    assert labels(stock.get(running)) == ["sleep=3"]

    running = hold(stock, module_client, 4)
    until(lambda: running in str(ask.active()))
    neighbour = stock.send_task(CLASSIFY, "goes on")
    stock.revoke(running, terminate=True)

    # The pass goes on, for its neighbours' sake; its result is discarded.
    assert stock.get(running).type == "TaskRevokedError"
    assert stock.state(running) == "REVOKED"
    assert labels(stock.get(neighbour)) == ["goes on"]


def test_priority_orders_the_queue(
    stock: Producer, module_client: Client, narrow_worker: Worker
) -> None:
    queue = "stoker.narrow"
    with held(stock, module_client, queue):
        sent = [
            stock.send_task(CLASSIFY, f"{name} {n}", queue=queue, priority=priority)
            for name, priority in (("low", 6), ("normal", 3), ("high", 0))
            for n in range(3)
        ]

    for job_id in sent:
        stock.get(job_id)

    done = sorted(sent, key=stock.date_done)
    # Not one by one: now and then a claim begins with the lowest, so that none starves.
    ranks = [done.index(job_id) for job_id in sent]
    assert sum(ranks[6:]) < sum(ranks[3:6]) < sum(ranks[:3])


def test_a_result_that_nobody_wants_is_not_stored(stock: Producer) -> None:
    job_id = stock.send_task(CLASSIFY, "x", ignore_result=True)
    stock.get(stock.send_task(CLASSIFY, "after it"))

    assert stock.state(job_id) == "PENDING"


def test_a_job_of_stokers_that_is_revoked_is_not_called_queued(
    stock: Producer, module_client: Client, module_redis: str, narrow_worker: Worker
) -> None:
    with held(stock, module_client, "stoker.narrow"):
        handle = module_client.submit(TextClassification(inputs="kill"), pool="narrow")

        stock.revoke(handle.id)
        revoked_at(module_redis, narrow_worker, handle.id)

    result = handle.wait(timeout=30)
    assert isinstance(result, Failure)
    assert result.status == "canceled"
    assert handle.status().state is State.CANCELED


# -- canvas --------------------------------------------------------------------------------------


def test_a_chain_hands_text_over(stock: Producer) -> None:
    sent = stock.send(chain(job(GENERATE, inputs="once"), job(CLASSIFY)))

    assert labels(stock.get(sent)) == ["once and on"]


def test_a_chain_of_three(stock: Producer) -> None:
    links = chain(job(FILL, inputs="a [MASK] day"), job(GENERATE), job(CLASSIFY))

    assert labels(stock.get(stock.send(links))) == ["a filled day and on"]


def test_a_chain_from_a_task_that_has_nothing_to_hand_over(stock: Producer) -> None:
    raised = stock.get(stock.send(chain(job(CLASSIFY, inputs="x"), job(GENERATE))))

    assert raised.type == "InvalidInput"
    assert "text-classification has nothing to hand over to text-generation" in raised.args[0]
    assert raised.args[1] == {"from": "text-classification", "to": "text-generation"}


def test_a_chain_ends_with_its_first_failure(stock: Producer) -> None:
    first = job(GENERATE, inputs="bad").set(task_id="first-link")
    last = stock.send(chain(first, job(CLASSIFY)))

    assert stock.get("first-link").type == "InvalidInput"
    assert stock.get(last).type == "InvalidInput"


def test_a_group_answers_in_order(stock: Producer) -> None:
    results = stock.get(stock.send(group(job(CLASSIFY, f"text {n}") for n in range(20))))

    assert [labels(result) for result in results] == [[f"text {n}"] for n in range(20)]


def test_a_chords_body_gets_a_list_input_in_order(stock: Producer) -> None:
    header = [job(GENERATE, f"text {n}") for n in range(5)]

    result = stock.get(stock.send(chord(header, job(CLASSIFY))))

    assert [one[0]["label"] for one in result["output"]] == [f"text {n} and on" for n in range(5)]


@pytest.mark.parametrize(
    ("member", "error"),
    [(job(GENERATE, "bad"), "InvalidInput"), (job("stoker.no_such_task", "x"), "UnknownTask")],
)
def test_a_failing_member_fails_the_chord(stock: Producer, member: Signature, error: str) -> None:
    sent = stock.send(chord([job(GENERATE, "x"), member], job(CLASSIFY)))

    assert stock.get(sent).type == error
    body = sent[0][0]
    assert stock.get(body).type == "ChordError"
    assert stock.state(body) == "FAILURE"


def test_an_errback_is_called_with_the_failed_jobs_id(stock: Producer) -> None:
    errback = job(CLASSIFY).set(task_id=uuid())

    failed = stock.send_task(CLASSIFY, "bad", link_error=errback)

    assert stock.get(failed).type == "InvalidInput"
    assert labels(stock.get(errback.options["task_id"])) == [failed]


def test_a_callback_gets_what_is_handed_over(stock: Producer) -> None:
    callback = job(CLASSIFY).set(task_id=uuid())
    stock.send_task(GENERATE, "once", link=callback)

    assert labels(stock.get(callback.options["task_id"])) == ["once and on"]


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (UNKNOWN_PARAMETER, "parameters.top_p: unknown parameter; text-classification takes"),
        (UNKNOWN_FIELD, "temperature: unknown field; a job has inputs, model"),
        ({"inputs": 7}, "inputs: must be a string"),
        ({"parameters": {}}, "inputs: must be a string"),
        ({"inputs": "x", "parameters": {"top_k": "two"}}, "parameters.top_k: takes integer ≥ 1"),
    ],
)
def test_intake_refuses_what_submit_refuses_in_the_same_words(
    stock: Producer, kwargs: dict[str, object], words: str
) -> None:
    with pytest.raises(errors.InvalidInput) as at_submit:
        make_job("text-classification", kwargs)

    raised = stock.get(stock.send_task(CLASSIFY, kwargs=kwargs))

    assert raised.type == "InvalidInput"
    assert raised.args == (at_submit.value.message, at_submit.value.details)
    assert words in raised.args[0]


def test_an_error_is_its_class_where_stoker_is_imported(
    stock: Producer, module_redis: str, module_client: Client
) -> None:
    job_id = stock.send_task(CLASSIFY, kwargs=UNKNOWN_FIELD)
    app = make_app(Settings.model_validate({"redis_url": module_redis}))

    with pytest.raises(errors.InvalidInput, match="unknown field") as raised:
        app.AsyncResult(job_id).get(timeout=10)
    assert raised.value.type == "invalid_input"
    assert raised.value.details["fields"] == ["temperature"]
    with pytest.raises(errors.InvalidInput, match="unknown field"):
        module_client.handle(job_id).result(timeout=10)


def test_inputs_are_given_once(stock: Producer) -> None:
    both = stock.get(stock.send_task(CLASSIFY, "x", kwargs={"inputs": "x"}))
    two = stock.get(stock.send_task(CLASSIFY, "x", "y"))

    assert both.args[0] == (
        "stoker.text_classification takes a positional argument or inputs=, not both"
    )
    assert two.args[0] == (
        "stoker.text_classification takes one positional argument, the inputs; 2 were given"
    )


def test_an_unknown_task_is_named(stock: Producer, module_client: Client) -> None:
    job_id = stock.send_task("stoker.text_classificatoin", "x")

    raised = stock.get(job_id)

    assert raised.type == "UnknownTask"
    assert raised.args[0].startswith("no task has the name 'text-classificatoin'; near it: text-c")
    assert "text-classification" in raised.args[1]["tasks"]
    assert module_client.status(job_id).state is State.FAILED


def test_a_task_of_somebody_elses_is_refused_as_celery_does(stock: Producer) -> None:
    assert stock.get(stock.send_task("shop.ship", "x")).type == "NotRegistered"


@pytest.mark.parametrize("header", ["id", "stoker-counted"])
def test_a_header_that_redis_cannot_take_is_refused_alone(
    stock: Producer, module_client: Client, header: str
) -> None:
    job_id = uuid()
    headers = {"lang": "py", "task": CLASSIFY, "id": job_id, header: "\ud800"}
    hold(stock, module_client, 0.5)

    body = b'[["a"], {}, {}]'
    stock.publish(body, "stoker", headers, content_type="application/json")

    assert labels(stock.get(stock.send_task(CLASSIFY, "b"))) == ["b"]
    if header != "id":
        assert stock.get(job_id).type == "InvalidInput"


def test_a_producer_of_celery_3_is_served_and_answered(module_redis: str) -> None:
    with producer(celery_url(module_redis), task_protocol=1) as old:
        assert labels(old.get(old.send_task(CLASSIFY, kwargs={"inputs": "a b"}))) == ["a b"]
        assert old.get(old.send_task(CLASSIFY, kwargs=UNKNOWN_FIELD)).type == "InvalidInput"
        assert old.get(old.send_task("stoker.no_such_task", "x")).type == "UnknownTask"
