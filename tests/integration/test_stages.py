"""A stage of a real worker dies of a job: it comes again, alone, and is given up in the end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from stoker import Client, Failure, Success, TextClassification
from stoker_config import keys
from tests.integration.test_supervisor import stoker
from tests.support import compose
from tests.support.compose import Service
from tests.support.until import until
from tests.support.worker import Worker, worker

pytestmark = pytest.mark.both_transports


@pytest.fixture(scope="module")
def running(
    transport: str, module_redis: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    folder: Path = tmp_path_factory.mktemp("worker")
    # A lease so long that nobody but the worker itself gives its jobs back.
    options = {"transport": transport, "lease": 3600}
    with worker(module_redis, folder, **options) as running:
        with Client(module_redis) as client:
            client.submit(text("good")).result(timeout=60)
        assert is_healthy(module_redis, running)
        yield running
        assert running.terminate() == 0


def is_healthy(redis_url: str, running: Worker) -> bool:
    """Ask as docker-compose.yml does."""
    variables = {"STOKER_REDIS_PASSWORD": "x", "FLOWER_BASIC_AUTH": "x"}
    service = compose.load(variables)["services"]["worker-cpu"]
    here = {
        service["environment"]["STOKER_REDIS_URL"]: redis_url,
        "worker@$HOSTNAME": running.name,
    }
    return Service(service, here).is_healthy()


def text(words: str) -> TextClassification:
    return TextClassification(inputs=words)


@pytest.fixture(scope="module")
def server(module_redis: str) -> Iterator[Any]:
    with redis.Redis.from_url(module_redis) as client:
        yield client


@pytest.mark.parametrize("stage", ["preprocess", "forward", "postprocess"])
def test_the_guilty_job_is_given_up_and_its_neighbours_succeed(
    module_client: Client, module_redis: str, server: Any, running: Worker, stage: str
) -> None:
    good = [text(f"good {at}") for at in range(20)]
    jobs = [text("sleep=0.5"), *good[:10], text(f"exit={stage}"), *good[10:]]
    handles = module_client.submit_many(jobs)

    results = dict(module_client.as_completed(handles, timeout=60))

    guilty = results.pop(handles[11])
    assert isinstance(guilty, Failure)
    assert (guilty.error, guilty.details) == ("poison", {"deaths": 3})
    assert all(isinstance(result, Success) for result in results.values())
    [one] = module_client.workers()
    assert one.worker == running.name
    assert f"the stage {stage} died" in one.ailing
    until(lambda: not server.exists("unacked", keys.RUNNING, keys.JOBS))
    assert running.process.poll() is None
    # Nobody's words are in the log.
    assert "good 1" not in running.lines()
    if stage == "forward":
        assert f"the stage {stage} died" in stoker(module_redis, "models")
        assert not is_healthy(module_redis, running)
    assert handles[11].id in [each.id for each in module_client.dead_letters()]
