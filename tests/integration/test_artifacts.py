"""What is too large for a message travels beside it, both ways, through a real worker."""

import base64
import io
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from celery import chain
from PIL import Image

from stoker import (
    AutomaticSpeechRecognition,
    Client,
    Failure,
    FeatureExtraction,
    ImageClassification,
    Job,
    Media,
    Success,
    errors,
    make_job,
)
from stoker_config import keys
from stoker_config.sizes import KIB
from stoker_tasks.errors import ErrorType
from stoker_tasks.wire import DEFAULT_POOL, PRIORITIES, queue_name
from tests.parity.batched import TOLERANCE, differences, pipeline_alone
from tests.parity.cases.case import for_pipeline
from tests.parity.images import alike
from tests.parity.judges import direct
from tests.support.worker import Worker, model_worker
from tests.tiny import image, media
from tests.tiny.fixture import TinyModel, tiny
from tests.tiny.tokens import SENTENCES

__all__ = ["tiny"]

SECONDS = 60.0
INLINE = 64 * KIB
# The same pixels: one file fits into a message, the other does not.
SMALL_PICTURE = media.picture(200, 150, seed=1, form="PNG")
LARGE_PICTURE = media.picture(200, 150, seed=1, form="BMP")
LARGE_SOUND = media.sound(media.wave(1.5, seed=2))
# A pool that nobody serves: what is sent there stays as it was sent.
NOBODY = "nobody"


def messages_of(pool: str) -> str:
    """Name the list of a pool's messages of normal priority."""
    return keys.queue(queue_name(pool), PRIORITIES["normal"], keys.PRIORITY_STEPS)


@pytest.fixture(scope="module", autouse=True)
def real_worker(
    module_redis: str, tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """A worker with six models, each the default of its task."""
    folder = tmp_path_factory.mktemp("worker")
    models = {
        "image-classification": tiny("vit_classifier"),
        "automatic-speech-recognition": tiny("wav2vec2_layer"),
        "feature-extraction": tiny("bert_long_encoder"),
        "image-to-image": tiny("swin2sr"),
        "image-text-to-text": tiny("llava"),
        "text-to-audio": tiny("vits"),
    }
    with model_worker(
        module_redis,
        folder,
        models,
        # Nothing to learn before jobs come.
        batch_tokens=4096,
    ) as running:
        yield running


@pytest.fixture
def server(module_redis: str) -> Iterator["redis.Redis[bytes]"]:
    with redis.Redis.from_url(module_redis) as client:
        yield client
        client.delete(messages_of(NOBODY))


def run_as_sent(client: Client, server: "redis.Redis[bytes]", job: Job) -> tuple[Any, Success]:
    """Run a job and have a look at its message on the way.

    Returns:
        The inputs in the message, and the job's result.
    """
    handle = client.submit(job, pool=NOBODY, allow_unserved=True)
    raw = server.lindex(messages_of(NOBODY), 0)
    assert raw is not None
    assert len(raw) < 4 * KIB
    _, kwargs, _ = json.loads(base64.b64decode(json.loads(raw)["body"]))
    # The very message goes on to the worker.
    server.lmove(messages_of(NOBODY), messages_of(DEFAULT_POOL))
    return kwargs["inputs"], handle.result(SECONDS)


def assert_beside(inputs: Any, server: "redis.Redis[bytes]", data: bytes) -> None:
    """Make sure that a message only names a file, and that the file is in the store."""
    assert inputs.keys() == {"uri"}
    assert server.get(keys.artifact(inputs["uri"])) == data


# -- inputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, Path])
def test_a_large_picture_travels_beside_its_message(
    kind: type, module_client: Client, server: "redis.Redis[bytes]", tiny: TinyModel, tmp_path: Path
) -> None:
    assert len(SMALL_PICTURE) < INLINE < len(LARGE_PICTURE)
    job = ImageClassification(inputs=given(kind, LARGE_PICTURE, tmp_path))

    inputs, result = run_as_sent(module_client, server, job)

    assert_beside(inputs, server, LARGE_PICTURE)
    alone = pipeline_alone("image-classification", tiny("vit_classifier"))
    assert differences(result.output, alone(for_pipeline(LARGE_PICTURE))) == []
    inline = module_client.submit(classify(SMALL_PICTURE)).result(SECONDS)
    assert differences(result.output, inline.output) == []
    assert {each["label"] for each in result.output} == set(image.ANIMALS.values())


@pytest.mark.parametrize("kind", [bytes, Path])
def test_a_large_sound_travels_beside_its_message(
    kind: type, module_client: Client, server: "redis.Redis[bytes]", tiny: TinyModel, tmp_path: Path
) -> None:
    assert len(LARGE_SOUND) > INLINE
    job = AutomaticSpeechRecognition(inputs=given(kind, LARGE_SOUND, tmp_path))

    inputs, result = run_as_sent(module_client, server, job)

    assert_beside(inputs, server, LARGE_SOUND)
    alone = pipeline_alone("automatic-speech-recognition", tiny("wav2vec2_layer"))
    wanted = alone(for_pipeline(LARGE_SOUND))
    assert len(set(wanted["text"])) > 2
    assert result.output == wanted


def test_a_small_picture_stays_in_its_message(
    module_client: Client, server: "redis.Redis[bytes]"
) -> None:
    inputs, _ = run_as_sent(module_client, server, classify(SMALL_PICTURE))

    assert inputs == {"base64": base64.b64encode(SMALL_PICTURE).decode()}


def test_an_unknown_artifact_fails_its_own_job_only(module_client: Client) -> None:
    unknown = Media(uri=f"artifact:{'0' * 32}")
    jobs = [
        classify(SMALL_PICTURE),
        ImageClassification(inputs=unknown),
        classify(LARGE_PICTURE),
        # One of several is enough to fail a job.
        ImageClassification(inputs=[Media(base64=encoded(SMALL_PICTURE)), unknown]),
        classify(SMALL_PICTURE),
    ]

    first, second, third, fourth, fifth = [
        handle.wait(SECONDS) for handle in module_client.submit_many(jobs)
    ]

    for failed in (second, fourth):
        assert isinstance(failed, Failure)
        assert failed.error is ErrorType.INPUT_FETCH_FAILED
    assert isinstance(first, Success)
    for succeeded in (third, fifth):
        assert isinstance(succeeded, Success)
        assert differences(succeeded.output, first.output) == []


def test_what_the_store_does_not_take_is_refused_at_submit(
    module_redis: str, server: "redis.Redis[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = len(LARGE_PICTURE) - 1
    monkeypatch.setenv("STOKER_ARTIFACT_LIMIT", str(limit))
    before = server.get(keys.ARTIFACT_BYTES)
    jobs = [classify(each) for each in (SMALL_PICTURE, LARGE_PICTURE)]

    with Client(module_redis) as client, pytest.raises(errors.TooLarge) as caught:
        client.submit_many(jobs, pool=NOBODY, allow_unserved=True)

    assert caught.value.details == {"size": len(LARGE_PICTURE), "limit": limit}
    assert "STOKER_ARTIFACT_LIMIT" in caught.value.message
    # Not even the job that is small enough.
    assert server.llen(messages_of(NOBODY)) == 0
    assert server.get(keys.ARTIFACT_BYTES) == before


# -- outputs -------------------------------------------------------------------------------------


def test_a_large_output_is_an_artifact(module_client: Client, tiny: TinyModel) -> None:
    long, short = " ".join([*SENTENCES] * 4), SENTENCES[0]
    jobs = [FeatureExtraction(inputs=each) for each in (long, short)]

    large, small = [each.result(SECONDS) for each in module_client.submit_many(jobs)]

    (artifact,) = large.artifacts
    data = module_client.artifact(artifact.uri)
    array = np.load(io.BytesIO(data), allow_pickle=False)
    assert array.size > 8192
    assert large.output == {
        "artifact": artifact.uri,
        "mime_type": "application/x-npy",
        "shape": list(array.shape),
        "dtype": "float32",
    }
    assert (artifact.mime_type, artifact.size) == ("application/x-npy", len(data))
    alone = pipeline_alone("feature-extraction", tiny("bert_long_encoder"))
    wanted = np.array(alone(long))
    assert array.shape == wanted.shape
    np.testing.assert_allclose(array, wanted, rtol=0, atol=TOLERANCE)
    # Its neighbour's output is none.
    assert small.artifacts == []
    assert differences(small.output, alone(short)) == []


def test_a_large_picture_within_a_chat_travels_beside_its_message(
    module_client: Client, server: "redis.Redis[bytes]", tiny: TinyModel
) -> None:
    parts = [{"type": "image", "image": LARGE_PICTURE}, {"type": "text", "text": "What is this?"}]
    chat = [{"role": "user", "content": parts}]
    given = {"max_new_tokens": 8, "generate_kwargs": {"do_sample": False}}
    job = make_job("image-text-to-text", {"inputs": chat, "parameters": given})

    inputs, result = run_as_sent(module_client, server, job)

    assert_beside(inputs[0]["content"][0]["image"], server, LARGE_PICTURE)
    alone = pipeline_alone("image-text-to-text", tiny("llava"))
    assert differences(result.output, alone(for_pipeline(chat), **given)) == []


def test_a_sound_is_an_artifact_that_the_next_link_of_a_chain_takes(
    module_client: Client, tiny: TinyModel
) -> None:
    spoken = pipeline_alone("text-to-audio", tiny("vits"))(SENTENCES[0])
    links = chain(
        module_client.signature(make_job("text-to-audio", {"inputs": SENTENCES[0]})),
        module_client.signature("automatic-speech-recognition"),
    )

    last = links.apply_async()

    heard = pipeline_alone("automatic-speech-recognition", tiny("wav2vec2_layer"))
    file = media.sound(np.round(spoken["audio"] * 32767) / 32768, spoken["sampling_rate"])
    assert last.get(timeout=SECONDS)["output"] == heard(for_pipeline(file))
    (artifact,) = last.parent.get()["artifacts"]
    assert module_client.artifact(artifact["uri"]).startswith(b"RIFF")
    assert artifact["mime_type"] == "audio/wav"


def test_an_image_is_an_artifact_that_the_next_link_of_a_chain_takes(
    module_client: Client, tiny: TinyModel
) -> None:
    classify_alone = pipeline_alone("image-classification", tiny("vit_classifier"))
    enhanced = direct("image-to-image", tiny("swin2sr"))(for_pipeline(SMALL_PICTURE))
    links = chain(
        module_client.signature(make_job("image-to-image", {"inputs": SMALL_PICTURE})),
        module_client.signature("image-classification", parameters={"top_k": 2}),
    )

    last = links.apply_async()
    result = last.get(timeout=SECONDS)

    assert differences(result["output"], classify_alone(enhanced, top_k=2)) == []
    (artifact,) = last.parent.get()["artifacts"]
    image = Image.open(io.BytesIO(module_client.artifact(artifact["uri"])))
    assert (image.format, image.size) == ("PNG", enhanced.size)
    assert alike(image, enhanced)


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="nothing is missing here")
def test_a_task_whose_part_is_missing_is_refused_by_name(module_client: Client) -> None:
    job = make_job("mask-generation", {"inputs": SMALL_PICTURE})

    with pytest.raises(errors.Unserved, match="mask-generation"):
        module_client.submit(job)
    forced = module_client.submit(job, allow_unserved=True).wait(SECONDS)

    assert isinstance(forced, Failure)
    assert forced.error is ErrorType.UNSERVED
    assert "pip install torchvision" in forced.message


def test_an_artifact_that_never_was_is_not_read_as_empty(module_client: Client) -> None:
    with pytest.raises(errors.Gone):
        module_client.artifact(f"artifact:{'0' * 32}")


def classify(data: bytes) -> Job:
    return make_job("image-classification", {"inputs": data})


def given(kind: type, data: bytes, folder: Path) -> Any:
    """Give a file as a caller may have it."""
    if kind is bytes:
        return data
    file = folder / "input"
    file.write_bytes(data)
    return file


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
