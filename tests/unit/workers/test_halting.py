"""Whatever writes about an image stops between two steps once nobody waits for it."""

from typing import Any

import pytest

from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.tiny.fixture import TinyModel
from tests.tiny.media import picture

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
def test_a_pass_ends_with_its_last_waiting_job(
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
