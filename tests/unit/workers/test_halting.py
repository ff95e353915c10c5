"""Whatever writes or speaks step by step stops between two of them once nobody waits for it."""

from typing import Any

import pytest

from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.tiny.fixture import TinyModel
from tests.tiny.media import picture
from tests.tiny.speaking import VOICE_SIZE

IMAGE = picture(30, 20, 1)
MANY = {"max_new_tokens": 40, "min_new_tokens": 40, "do_sample": False}
ABOUT = {"text": "the dog", "images": IMAGE}
CHAT = [{"role": "user", "content": [{"type": "image", "image": IMAGE}]}]


@pytest.mark.parametrize(
    ("task", "model", "inputs", "parameters"),
    [
        ("image-to-text", "vit_gpt2", IMAGE, {"generate_kwargs": MANY}),
        (
            "visual-question-answering",
            "blip_answerer",
            {"image": IMAGE, "question": "What is Bob?"},
            {},
        ),
        ("image-text-to-text", "llava", CHAT, {"generate_kwargs": MANY}),
        ("image-text-to-text", "blip_talker", ABOUT, {"generate_kwargs": MANY}),
    ],
)
def test_writing_ends_with_its_last_waiting_job(
    task: str, model: str, inputs: Any, parameters: dict[str, Any], tiny: TinyModel
) -> None:
    loaded = load(ModelKey(task, tiny(model)), find_device("cpu"))
    job = make_job(task, {"inputs": inputs, "parameters": parameters})
    (chunk,) = loaded.preprocess(job, {}).chunks
    steps: list[int] = []

    def ended() -> list[bool]:
        steps.append(len(steps))
        return [len(steps) == 3]

    loaded.forward([chunk], ended)
    assert len(steps) == 3


PLAYED = {"generate_kwargs": {"do_sample": False, "max_new_tokens": 100}}
SPOKEN = {"forward_params": {"minlenratio": 9.0, "speaker_embeddings": [0.5] * VOICE_SIZE}}


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("musicgen", PLAYED), ("speecht5", SPOKEN)],
)
def test_speaking_goes_on_while_one_job_waits(
    model: str, parameters: dict[str, Any], tiny: TinyModel
) -> None:
    loaded = load(ModelKey("text-to-audio", tiny(model)), find_device("cpu"))
    job = make_job("text-to-audio", {"inputs": "the dog", "parameters": parameters})
    prepared = loaded.preprocess(job, {})
    [chunk] = prepared.chunks
    steps: list[int] = []

    def ended() -> list[bool]:
        steps.append(len(steps))
        return [True, len(steps) > 9]

    assert len(loaded.forward([chunk, chunk], ended)) == 2
    assert len(steps) == 10

    # What looked whether the pass is still wanted is gone with it.
    whole = loaded.forward([chunk])
    assert loaded.postprocess(job, prepared, whole).artifacts
    assert len(steps) == 10
