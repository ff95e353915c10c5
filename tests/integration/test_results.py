"""Where results are, for how long, and who is spared a forward pass, through real workers."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import chain
from celery.result import AsyncResult

from stoker import (
    Client,
    DeleteAnswer,
    Failure,
    Job,
    State,
    Success,
    TextClassification,
    TextGeneration,
    errors,
)
from stoker_config import keys
from stoker_config.clock import DAY
from stoker_config.settings import Settings
from stoker_config.sizes import KIB
from stoker_tasks.errors import ErrorType
from stoker_tasks.result import referenced
from tests.support.s3 import S3
from tests.support.until import until
from tests.support.worker import ROOT, environment, worker

SECONDS = 30.0
INLINE, LARGEST = 2000, 100_000
LARGE = "word " * 1000


@dataclass(frozen=True)
class Place:
    """A client whose pool's worker keeps artifacts in one kind of store.

    Attributes:
        client: The client.
        server: The Redis server.
        s3: The S3 server, if artifacts are there.
    """

    client: Client
    server: Any
    s3: S3 | None

    def submit(self, words: str, **fields: Any) -> Any:
        return self.client.submit(TextClassification(inputs=words, **fields))

    def run(self, words: str, **fields: Any) -> Success:
        result: Success = self.submit(words, **fields).result(SECONDS)
        return result

    def stored(self, job_id: str) -> Any:
        return json.loads(self.server.get(keys.result(job_id)))["result"]

    def artifacts(self) -> list[str]:
        """List the names of all artifacts in the store."""
        if self.s3:
            return ["artifact:" + key.removeprefix("stoker/") for key in self.s3.objects()]
        found = self.server.scan_iter("stoker:artifact:*")
        return [key.decode().removeprefix("stoker:") for key in found]


def in_pool(name: str, s3: S3) -> dict[str, Any]:
    return {
        "pool": name,
        "result_inline_limit": INLINE,
        "inline_limit": 4 * KIB,
        "artifact_limit": LARGEST,
        **(s3.settings() if name == "bucket" else {}),
    }


@pytest.fixture(scope="module")
def workers(module_redis: str, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker for each kind of store."""
    folder = tmp_path_factory.mktemp("workers")
    with (
        worker(module_redis, folder, name="r", queues="stoker.memory", **in_pool("memory", s3)),
        worker(module_redis, folder, name="s", queues="stoker.bucket", **in_pool("bucket", s3)),
    ):
        yield


@pytest.fixture(params=["memory", "bucket"])
def place(
    request: pytest.FixtureRequest, workers: None, module_redis: str, s3: S3
) -> Iterator[Place]:
    settings = Settings.model_validate({"redis_url": module_redis, **in_pool(request.param, s3)})
    with Client(settings=settings) as client, redis.Redis.from_url(module_redis) as server:
        yield Place(client, server, s3 if request.param == "bucket" else None)


# -- where they are ------------------------------------------------------------------------------


def test_a_large_output_is_read_back_as_if_it_had_been_small(place: Place) -> None:
    small, large = [place.submit(words) for words in ("word", LARGE)]

    results = {handle.id: result for handle, result in place.client.as_completed([small, large])}

    short = results[small.id]
    assert isinstance(short, Success)
    assert short.output == [{"label": "word", "score": 1.0}]
    for result in (results[large.id], large.result(SECONDS), place.client.wait(large.id)):
        assert isinstance(result, Success)
        assert result.output == [{"label": LARGE, "score": 1.0}]
        assert result.artifacts == []
    assert place.stored(small.id)["output"] == short.output


def test_a_stock_celery_client_sees_the_usual_shape_with_a_reference_for_the_output(
    place: Place,
) -> None:
    handle = place.submit(LARGE, metadata={"order": "7"})
    handle.wait(SECONDS)

    stored = AsyncResult(handle.id, app=place.client.signature("fill-mask").app).get(timeout=10)

    assert len(json.dumps(stored)) < INLINE
    assert stored["metadata"] == {"order": "7"}
    assert stored["output"].keys() == {"artifact", "mime_type", "size"}
    raw = place.client.artifact(stored["output"]["artifact"])
    assert len(raw) == stored["output"]["size"]
    assert json.loads(raw) == [{"label": LARGE, "score": 1.0}]


def test_a_large_output_is_handed_over_whole(place: Place) -> None:
    client = place.client
    first = client.signature(TextGeneration(inputs=LARGE))

    last = chain(first, client.signature("text-classification")).apply_async()

    result = client.wait(last.id, SECONDS)
    assert isinstance(result, Success)
    assert result.output == [{"label": f"{LARGE} and on", "score": 1.0}]


def test_an_artifact_is_where_it_should_be_and_s3_gives_it_a_url(place: Place) -> None:
    handle = place.submit("draw=9")

    result = handle.result(SECONDS)

    [artifact] = result.artifacts
    assert result.output == [{"picture": artifact.uri}]
    assert (artifact.mime_type, artifact.size) == ("image/png", 9)
    assert handle.artifact(artifact.uri) == b"p" * 9
    assert artifact.uri in place.artifacts()
    if place.s3 is None:
        with pytest.raises(errors.NoUrl):
            place.client.presign(artifact.uri)
    else:
        with urllib.request.urlopen(place.client.presign(artifact.uri), timeout=10) as answer:
            assert answer.read() == b"p" * 9
            assert answer.headers["Content-Type"] == "image/png"


def test_a_large_input_travels_by_the_same_store(place: Place) -> None:
    before = set(place.artifacts())

    handle = place.submit(LARGE)

    beside = {uri.decode() for uri in place.server.smembers(keys.inputs(handle.id))}
    assert len(beside) == 1
    assert beside <= set(place.artifacts()) - before
    assert handle.result(SECONDS).output[0]["label"] == LARGE
    assert place.server.ttl(keys.inputs(handle.id)) > 0


def test_what_no_store_takes_fails_its_own_job_only(place: Place) -> None:
    words = [f"draw={LARGEST + 1}", "one", "draw=3"]

    results = [place.submit(each).wait(SECONDS) for each in words]

    if place.s3 is None:
        assert isinstance(results[0], Failure)
        assert results[0].error is ErrorType.TOO_LARGE
        assert "STOKER_ARTIFACT_LIMIT" in results[0].message
    else:
        assert isinstance(results[0], Success)
    assert all(isinstance(each, Success) for each in results[1:])


def test_a_worker_does_not_start_without_its_bucket(
    module_redis: str, s3: S3, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tests.doubles.worker_app", "worker"],
        cwd=ROOT,
        env=environment(module_redis, **s3.settings(s3_bucket="nowhere")),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 78
    assert "there is no S3 bucket nowhere: make it" in done.stdout + done.stderr
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr


# -- for how long --------------------------------------------------------------------------------


def test_a_result_is_kept_for_as_long_as_its_job_asks(place: Place) -> None:
    usual, short, failed = [
        place.submit("draw=4"),
        place.submit("draw=4", retention=600),
        place.submit("bad", retention=600),
    ]
    for each in (usual, short, failed):
        each.wait(SECONDS)

    for handle, seconds in ((usual, DAY), (short, 600), (failed, 600)):
        assert seconds - 60 < place.server.ttl(keys.result(handle.id)) <= seconds
        for times in (handle.status().times, handle.wait(SECONDS).times):
            assert (times.expires_at - times.finished_at).total_seconds() == seconds


def test_artifacts_expire_with_their_result(place: Place) -> None:
    handle = place.submit(f"draw=4 {LARGE}", retention=6)
    result = handle.result(SECONDS)
    [artifact] = result.artifacts
    assert handle.artifact(artifact.uri) == b"pppp"

    until(lambda: place.server.get(keys.result(handle.id)) is None, 60)

    with pytest.raises(errors.Gone):
        until(lambda: handle.artifact(artifact.uri) is None, 60)


def test_nobody_keeps_a_result_for_longer_than_the_deployment_allows(place: Place) -> None:
    with pytest.raises(errors.InvalidInput, match=r"2592001 seconds .*STOKER_RETENTION_MAX"):
        place.submit("word", retention=30 * DAY + 1)

    app = place.client.signature("fill-mask").app
    for wrong in (30 * DAY + 1, 0, "long"):
        sent = app.send_task(
            "stoker.text_classification", kwargs={"inputs": "word", "retention": wrong}
        )
        result = place.client.wait(sent.id, SECONDS)
        assert isinstance(result, Failure)
        assert result.error is ErrorType.INVALID_INPUT
        assert place.server.ttl(keys.result(sent.id)) <= DAY


# -- no longer -----------------------------------------------------------------------------------


def test_what_is_deleted_is_gone_at_once_and_known_to_have_been(place: Place) -> None:
    handle = place.submit(f"draw=4 {LARGE}")
    other = place.submit("draw=4")
    [artifact] = handle.result(SECONDS).artifacts
    [kept] = other.result(SECONDS).artifacts
    beside = [uri.decode() for uri in place.server.smembers(keys.inputs(handle.id))]
    assert {artifact.uri, *beside} < set(place.artifacts())

    assert handle.delete() is DeleteAnswer.DELETED

    assert {artifact.uri, *beside}.isdisjoint(place.artifacts())
    left = place.server.scan_iter(f"*{handle.id}*")
    assert list(left) == [keys.deleted(handle.id).encode()]
    status = handle.status()
    assert (status.state, status.terminal, status.times.expires_at) == (State.GONE, True, None)
    assert handle.delete() is DeleteAnswer.NOT_FOUND
    with pytest.raises(errors.Gone):
        handle.artifact(artifact.uri)
    assert other.artifact(kept.uri) == b"pppp"


def test_the_output_beside_a_result_is_deleted_with_it(place: Place) -> None:
    handle = place.submit(LARGE)
    handle.wait(SECONDS)
    uri = referenced(place.stored(handle.id)["output"])
    assert uri in place.artifacts()

    handle.delete()

    assert uri not in place.artifacts()


def test_only_a_finished_job_is_deleted(place: Place) -> None:
    running = place.submit("sleep=3")
    until(lambda: running.status().state is State.RUNNING, 20)
    queued = place.client.submit(TextClassification(inputs="later"), countdown=60)

    assert running.delete() is DeleteAnswer.NOT_FINISHED
    assert queued.delete() is DeleteAnswer.NOT_FINISHED
    assert place.client.delete("no-such-job") is DeleteAnswer.NOT_FOUND
    queued.cancel()
    assert queued.status().times.expires_at is not None
    assert queued.delete() is DeleteAnswer.DELETED
    assert queued.status().state is State.GONE
    assert isinstance(running.wait(SECONDS), Success)


def test_the_command_deletes_too(place: Place, module_redis: str, s3: S3) -> None:
    handle = place.submit("draw=4")
    [artifact] = handle.result(SECONDS).artifacts
    name = "bucket" if place.s3 else "memory"

    def stoker(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "stoker.cli.main", *words],
            cwd=ROOT,
            env=environment(module_redis, **in_pool(name, s3)),
            capture_output=True,
            text=True,
            timeout=60,
        )

    done = stoker("delete", handle.id, "--json")
    assert (done.returncode, json.loads(done.stdout)["answer"]) == (0, "deleted"), done.stderr
    again = stoker("delete", handle.id)
    assert (again.returncode, again.stdout.split()[1]) == (5, "not_found:")
    assert artifact.uri not in place.artifacts()


# -- answered before -----------------------------------------------------------------------------


def test_an_equal_job_is_answered_without_a_forward_pass(place: Place) -> None:
    words = f"equal {place.s3 is None}"
    first = place.run(words, cache=True, metadata={"who": "first"})

    second = place.run(words, cache=True, metadata={"who": "second"})

    assert (first.cached, first.timing.forwards) == (False, 1)
    assert (second.cached, second.timing.forwards, second.timing.batch_size) == (True, 0, 0)
    assert second.output == first.output
    assert second.metadata == {"who": "second"}
    assert 0 <= second.timing.postprocess_ms < SECONDS * 1000
    assert second.timing.ready_ms == 0


def test_what_is_not_equal_or_not_asked_for_runs(place: Place) -> None:
    words = f"alike {place.s3 is None}"
    place.run(words, cache=True)

    for words_, fields in (
        (words, {}),
        (words + "!", {"cache": True}),
        (words, {"cache": True, "parameters": {"top_k": 1}}),
    ):
        result = place.run(words_, **fields)
        assert (result.cached, result.timing.forwards) == (False, 1)


def test_no_failure_is_cached(place: Place) -> None:
    for _ in range(2):
        failed = place.submit("fail", cache=True).wait(SECONDS)
        assert isinstance(failed, Failure)
        assert failed.error is ErrorType.INTERNAL


def test_each_job_owns_its_copy_of_what_is_cached(place: Place) -> None:
    words = f"draw=5 {place.s3 is None} {LARGE}"
    first = place.submit(words, cache=True)
    [original] = first.result(SECONDS).artifacts
    second = place.submit(words, cache=True)
    result = second.result(SECONDS)
    [copy] = result.artifacts
    assert result.cached
    assert copy.uri != original.uri
    assert result.output == [{"picture": copy.uri}]

    first.delete()

    assert second.artifact(copy.uri) == b"ppppp"
    # With the job goes what it had answered.
    third = place.run(words, cache=True)
    assert third.output == [{"picture": third.artifacts[0].uri}]
    assert not third.cached


def test_what_is_drawn_at_random_cannot_be_cached() -> None:
    with pytest.raises(ValueError, match="cache=True needs do_sample=False"):
        TextGeneration(inputs="x", cache=True)
    job: Job = TextGeneration(inputs="x", cache=True, parameters={"do_sample": False})  # type: ignore[arg-type]
    assert job.cache
