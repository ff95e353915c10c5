"""`Client(app=…)` and signatures: jobs beside the tasks of somebody's own Celery app."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery, chain, chord, group

from stoker import (
    CancelAnswer,
    Client,
    Failure,
    FillMask,
    State,
    TextClassification,
    TextGeneration,
    errors,
)
from stoker_config import keys
from stoker_config.settings import Settings
from stoker_tasks.wire import PRIORITIES
from tests.doubles import shop
from tests.integration.conftest import celery_url
from tests.support.until import until
from tests.support.worker import ROOT, Worker, environment

pytestmark = [pytest.mark.usefixtures("module_worker"), pytest.mark.both_transports]


@pytest.fixture(scope="module")
def app(module_redis: str) -> Iterator[Celery]:
    with shop.make_app(celery_url(module_redis)) as app:
        yield app
        app.backend.result_consumer.stop()


@pytest.fixture(scope="module")
def client(app: Celery) -> Iterator[Client]:
    with Client(app=app) as client:
        yield client


@pytest.fixture(scope="module")
def shop_worker(
    app: Celery, module_redis: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """The shop's own worker, which knows nothing of Stoker's tasks."""
    log = tmp_path_factory.mktemp("shop") / "shop.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "tests.doubles.shop", "worker"),
                *("--pool", "solo", "-n", "shop@test", "-l", "info", "--without-mingle"),
            ],
            cwd=ROOT,
            env={**os.environ, "SHOP_URL": celery_url(module_redis), "C_FORCE_ROOT": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    until(lambda: app.control.ping(["shop@test"], timeout=0.5, limit=1), 60)
    yield Worker(process, log, "shop@test")
    process.kill()
    process.wait()


def labels(result: dict[str, Any]) -> list[str]:
    return [one["label"] for one in result["output"]]


def text(words: str) -> TextClassification:
    return TextClassification(inputs=words)


# -- submitting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_a_job_through_ones_own_app(client: Client, priority: Any) -> None:
    job = TextClassification(inputs="a b", priority=priority)

    assert client.submit(job, expires=60).result(timeout=10).output[0]["label"] == "a b"


def test_many_jobs_and_a_countdown(client: Client) -> None:
    handles = client.submit_many([text(f"text {n}") for n in range(50)], countdown=0.5)

    done = {handle.id for handle, _ in client.as_completed(handles, timeout=20)}

    assert done == {handle.id for handle in handles}


def test_canceling(client: Client) -> None:
    running = client.submit(text("steps=60"))
    until(lambda: running.status().state is State.RUNNING)
    waiting = client.submit(text("kill"))

    assert waiting.cancel() is CancelAnswer.CANCELED
    assert running.cancel() is CancelAnswer.CANCELING
    assert isinstance(running.wait(timeout=10), Failure)


def test_a_task_of_ones_own_may_wait_for_a_job(app: Celery, shop_worker: Worker) -> None:
    assert app.send_task("shop.classify", ("a b",)).get(timeout=20) == "a b"


# -- signatures ----------------------------------------------------------------------------------


def test_a_chain_of_typed_jobs(client: Client) -> None:
    links = chain(
        client.signature(FillMask(inputs="a [MASK] day")),
        client.signature("text-generation", parameters={"max_new_tokens": 3}, priority="low"),
        client.signature("sentiment-analysis", parameters={"top_k": 2}),
    )

    assert labels(links.apply_async().get(timeout=10)) == ["a filled day and on"] * 2


def test_a_group_and_a_chord(client: Client) -> None:
    jobs = [client.signature(TextGeneration(inputs=f"text {n}")) for n in range(5)]

    results = group(jobs).apply_async().get(timeout=10)
    whole = chord(jobs, client.signature("text-classification")).apply_async().get(timeout=10)

    told = [f"text {n} and on" for n in range(5)]
    assert [result["output"][0]["generated_text"] for result in results] == told
    assert [one[0]["label"] for one in whole["output"]] == told


def test_a_task_of_ones_own_between_two_jobs(
    client: Client, app: Celery, shop_worker: Worker
) -> None:
    links = chain(
        client.signature(text("some words")),
        # Stoker's worker sends this link: only the chain can tell it where to.
        app.signature("shop.best_label", queue="shop"),
        client.signature("text-generation"),
    )

    result = links.apply_async().get(timeout=20)

    assert result["output"] == [{"generated_text": "some words and on"}]


@pytest.mark.parametrize("canvas", ["chain", "chord"])
def test_what_a_job_hands_on_is_not_shown(
    client: Client, app: Celery, module_redis: str, canvas: str
) -> None:
    job = client.signature(text("secret"))
    mine = app.signature("shop.best_label", kwargs={"note": "secret"}, queue=canvas)

    (chain(job, mine) if canvas == "chain" else chord([job, job], mine)).apply_async()

    with redis.Redis.from_url(module_redis) as server:
        until(lambda: server.llen(canvas))
        sent = json.loads(server.rpop(canvas))
    # What the headers say of the arguments, a stock worker shows in its events.
    assert "secret" in base64.b64decode(sent["body"]).decode()
    assert "secret" not in str(sent["headers"])


def test_a_signature_can_be_kept_and_sent_again(client: Client) -> None:
    kept = client.signature(text("a b"))

    first, second = kept.apply_async(), kept.apply_async()

    assert first.id != second.id
    for sent in (first, second):
        result = sent.get(timeout=10)
        # From its arrival on, not since the signature was made.
        assert result["timing"]["queue_ms"] < 5000
    assert client.handle(first.id).result(timeout=1).output[0]["label"] == "a b"


def test_a_signatures_job_is_queued_once_a_worker_has_it(client: Client) -> None:
    running = client.submit(text("steps=60"))
    until(lambda: running.status().state is State.RUNNING)

    sent = client.signature(text("kill")).apply_async()

    until(lambda: client.status(sent.id).state is State.QUEUED)
    assert client.cancel(sent.id) is CancelAnswer.CANCELED
    running.cancel()
    running.wait(timeout=10)


def test_large_inputs_of_a_signature_travel_beside_it(client: Client, module_redis: str) -> None:
    words = "word " * 40_000

    signature = client.signature(text(words))

    assert len(str(signature)) < 1000
    assert labels(signature.apply_async().get(timeout=10)) == [words]


def test_a_signature_shows_nothing_of_its_job(
    client: Client, module_redis: str, module_worker: Worker
) -> None:
    signature = client.signature(text("secret words"), pool="elsewhere")

    signature.apply_async()

    with redis.Redis.from_url(module_redis) as server:
        [message] = server.lrange(
            keys.queue("stoker.elsewhere", PRIORITIES["normal"], keys.PRIORITY_STEPS), 0, -1
        )
    assert b"secret" not in message
    assert b"stoker-contract" in message


def test_a_signature_is_checked_when_it_is_made(client: Client) -> None:
    with pytest.raises(errors.InvalidInput, match=r"parameters\.top_p: unknown parameter"):
        client.signature("text-classification", parameters={"top_p": 1})
    with pytest.raises(errors.InvalidInput, match="temperature: unknown field"):
        client.signature("text-classification", temperature=1)
    with pytest.raises(errors.UnknownTask, match="near it: text-classification"):
        client.signature("text-clasification")


# -- what is refused -----------------------------------------------------------------------------

URL = "redis://localhost:6379/0"


def refusal(broker: str, backend: str | None = None, **conf: Any) -> str:
    app = Celery("shop", broker=broker, backend=backend or broker, set_as_current=False)
    app.conf.update(conf)
    with pytest.raises(ValueError, match=r"\w") as refused:
        Client(app=app)
    return str(refused.value)


@pytest.mark.parametrize("name", ["broker_transport_options", "result_backend_transport_options"])
def test_a_prefix_is_refused_by_name(name: str) -> None:
    options: dict[str, Any] = {name: {"global_keyprefix": "shop:"}}

    assert f"global_keyprefix in {name}" in refusal(URL, **options)


def test_a_worker_refuses_a_prefix_by_name(module_redis: str) -> None:
    code = (
        "from tests.doubles.worker_app import app\n"
        "app.conf.broker_transport_options['global_keyprefix'] = 'shop:'\n"
        "app.worker_main(['worker', '-Q', 'stoker'])\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(module_redis),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode != 0
    assert "global_keyprefix in broker_transport_options is not supported" in ended.stderr


def test_another_broker_is_refused() -> None:
    assert "broker_url is not a Redis server" in refusal("amqp://localhost", URL)
    assert "broker_url is not a Redis server" in refusal("memory://", URL)


def test_results_that_go_elsewhere_are_refused() -> None:
    for backend in ("redis://localhost:6379/1", "redis://other", "rpc://", "cache+memory://"):
        assert "result_backend must be the same URL as its broker_url" in refusal(URL, backend)


def test_results_may_go_to_the_server_that_the_settings_name_for_them() -> None:
    settings = Settings.model_validate({"result_url": "redis://other:6379/0"})
    app = Celery("shop", broker=URL, backend="redis://other", set_as_current=False)

    client = Client(app=app, settings=settings)

    assert client.settings.apart
    assert client.settings.of_results.redis == "redis://other:6379/0"
    with pytest.raises(ValueError, match="or as STOKER_RESULT_URL"):
        Client(app=Celery("x", broker=URL, backend="redis://a"), settings=settings)


def test_one_database_in_two_spellings_is_taken() -> None:
    app = Celery("shop", broker="redis://localhost", backend=URL, set_as_current=False)

    Client(app=app).close()


def test_steps_that_no_worker_reads_are_refused() -> None:
    refused = refusal(URL, broker_transport_options={"priority_steps": [0, 5]})

    assert "put low priority (6) into a list that Stoker's workers do not read" in refused
