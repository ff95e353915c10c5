"""A pool that serves a fixed list of models says so wherever another one is asked for."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stoker import Client, Failure, State, TextClassification, TokenClassification, errors
from stoker_tasks.errors import ErrorType
from tests.doubles.stock import CLASSIFY, Producer
from tests.support.until import until
from tests.support.worker import Worker, model_worker
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]

SECONDS = 60.0
OTHER = "somebody/another-model"


@pytest.fixture(scope="module")
def served(tiny: TinyModel) -> str:
    """The only model that the workers serve."""
    return tiny("bert_classifier")


@contextmanager
def serving(redis_url: str, folder: Path, served: str) -> Iterator[Worker]:
    with model_worker(
        redis_url,
        folder,
        {"text-classification": served},
        models=served,
        batch_tokens=1024,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def module_worker(
    module_redis: str, served: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    with serving(module_redis, tmp_path_factory.mktemp("worker"), served) as running:
        yield running


@pytest.mark.usefixtures("module_worker")
def test_the_served_model_is_taken_named_or_not(module_client: Client, served: str) -> None:
    jobs = [TextClassification(inputs="a fox", model=model) for model in (served, None)]

    named, unnamed = [each.result(SECONDS) for each in module_client.submit_many(jobs)]

    assert named.model == unnamed.model == f"{served}@local"
    assert named.output == unnamed.output


@pytest.mark.usefixtures("module_worker")
def test_another_model_is_refused_at_submit(module_client: Client, served: str) -> None:
    with pytest.raises(errors.ModelNotAllowed) as caught:
        module_client.submit(TextClassification(inputs="a fox", model=OTHER))

    assert f"served there: {served}" in caught.value.message
    assert "allow_unserved=True" in caught.value.message


@pytest.mark.usefixtures("module_worker")
def test_another_model_is_refused_at_intake(
    module_client: Client, stock: Producer, served: str
) -> None:
    told = stock.send_task(CLASSIFY, kwargs={"inputs": "a fox", "model": OTHER})
    allowed = module_client.submit(
        TextClassification(inputs="a fox", model=OTHER), allow_unserved=True
    )

    for job_id in (told, allowed.id):
        refused = module_client.wait(job_id, SECONDS)
        assert isinstance(refused, Failure)
        assert refused.error is ErrorType.MODEL_NOT_ALLOWED
        assert refused.details["allowed"] == [served]
        assert served in refused.message
        assert not refused.retryable
    # The stock producer reads the same.
    assert stock.get(told).type == "ModelNotAllowed"


@pytest.mark.usefixtures("module_worker")
def test_a_job_without_a_model_needs_a_default(module_client: Client) -> None:
    job = TokenClassification(inputs="alice lives in paris")

    with pytest.raises(errors.Unserved) as caught:
        module_client.submit(job)

    assert "has a default model for token-classification: the job must name one" in (
        caught.value.message
    )
    # A worker that gets it all the same says what is missing.
    refused = module_client.submit(job, allow_unserved=True).wait(SECONDS)
    assert isinstance(refused, Failure)
    assert refused.error is ErrorType.INVALID_INPUT
    assert "no default model for token-classification" in refused.message


def test_a_waiting_jobs_status_says_why(
    client: Client, redis_url: str, tmp_path: Path, served: str
) -> None:
    job = TextClassification(inputs="a fox", model=OTHER)
    handle = client.submit(job, allow_unserved=True)
    status = handle.status()
    assert (status.state, status.waiting_for) == (
        State.QUEUED,
        "no worker serves the pool default; served now: none",
    )

    with serving(redis_url, tmp_path, served) as running:
        # The worker that comes does not leave it waiting.
        refused = handle.wait(SECONDS)
        assert isinstance(refused, Failure)
        assert refused.error is ErrorType.MODEL_NOT_ALLOWED
        # One that serves the pool, but does nothing.
        running.process.send_signal(signal.SIGSTOP)
        try:
            stuck = client.submit(job, allow_unserved=True)
            waiting_for = stuck.status().waiting_for
        finally:
            running.process.send_signal(signal.SIGCONT)
        assert waiting_for == (
            f"no worker of the pool default serves this model; served there: {served}"
        )
        until(lambda: stuck.status().terminal, SECONDS)
        assert stuck.status().state is State.FAILED
