"""Models that say something about images."""

from typing import Any

import pytest

from stoker_tasks.errors import InvalidInput
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.cases.case import ENDLESS
from tests.tiny.fixture import TinyModel
from tests.tiny.media import picture

CPU = find_device("cpu")
IMAGE = picture(30, 20, 1)


@pytest.mark.parametrize(
    ("task", "model", "inputs", "parameters", "message"),
    [
        ("image-to-text", "vit_gpt2", IMAGE, {"prompt": "a"}, "takes no prompt"),
        (
            "image-to-text",
            "vit_gpt2",
            IMAGE,
            {"max_new_tokens": 3, "generate_kwargs": {"max_new_tokens": 4}},
            "max_new_tokens is given twice",
        ),
        (
            "image-to-text",
            "blip_captioner",
            IMAGE,
            {},
            "up to 256 are to be generated, but this model holds 64",
        ),
        (
            "visual-question-answering",
            "vilt",
            {"image": IMAGE, "question": ENDLESS},
            {},
            "this model reads at most 40: shorten it, or set truncation",
        ),
        (
            "visual-question-answering",
            "vilt",
            {"image": b"no image", "question": "What?"},
            {},
            "the image cannot be read",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_costs_a_pass(
    task: str, model: str, inputs: Any, parameters: dict[str, Any], message: str, tiny: TinyModel
) -> None:
    loaded = load(ModelKey(task, tiny(model)), CPU)
    job = make_job(task, {"inputs": inputs, "parameters": parameters})
    with pytest.raises(InvalidInput, match=message):
        loaded.preprocess(job, {})
