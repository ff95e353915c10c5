"""Models that talk about images, sounds and films."""

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stoker_tasks.errors import InvalidInput, ModelLoadFailed
from stoker_tasks.media import Media
from stoker_tasks.multimodal import AnyToAnyParameters
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.adapters.multimodal import AnyTalker, _Decoder
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from stoker_workers.models.outputs import Sound
from tests.parity.batched import run_batched
from tests.tiny.fixture import TinyModel
from tests.tiny.media import film, picture, sound, wave

CPU = find_device("cpu")
TASK = "image-text-to-text"
GREEDY = {"max_new_tokens": 6, "generate_kwargs": {"do_sample": False}}


def say(role: str, *parts: Any) -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(data: bytes) -> dict[str, Any]:
    return {"type": "image", "image": data}


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="needs an absent torchvision")
def test_images_for_any_to_any_need_a_part_that_is_named(tiny: TinyModel) -> None:
    with pytest.raises(ModelLoadFailed, match=r"needs torchvision.*: pip install torchvision"):
        load(ModelKey("any-to-any", tiny("llava")), CPU)


def test_a_message_that_is_a_string_is_continued_like_one_of_parts(tiny: TinyModel) -> None:
    model = load(ModelKey(TASK, tiny("llava")), CPU)
    question = say("user", image(picture(30, 20, 1)), text("What is this?"))
    jobs = [
        make_job(TASK, {"inputs": [question, answer], "parameters": GREEDY})
        for answer in (say("assistant", text("I see")), {"role": "assistant", "content": "I see"})
    ]
    (one, other), _ = run_batched(model, jobs)
    assert one.value == other.value
    chat = one.value[0]["generated_text"]
    # The media are the caller's own; what is said about them comes back.
    assert chat[0]["content"] == [{"type": "image"}, text("What is this?")]
    assert chat[-1]["content"][-1]["text"].startswith("I see")


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        ([say("user", image(b"none"))], {}, "the image cannot be read"),
        ([say("user", text("x" * 600))], {}, "tokens and this model reads at most 512"),
        ([say("user", text("Hi"))], {**GREEDY, "generate_kwargs": {"max_new_tokens": 3}}, "twice"),
    ],
)
def test_what_is_refused_before_it_costs_a_pass(
    inputs: Any, parameters: dict[str, Any], message: str, tiny: TinyModel
) -> None:
    model = load(ModelKey(TASK, tiny("llava")), CPU)
    job = make_job(TASK, {"inputs": inputs, "parameters": parameters})
    with pytest.raises(InvalidInput, match=message):
        model.preprocess(job, {})


def test_films_and_sounds_are_decoded_as_their_model_wants_them() -> None:
    processor = SimpleNamespace(feature_extractor=SimpleNamespace(sampling_rate=8_000))
    decode = _Decoder(processor, {}, AnyToAnyParameters(num_frames=3))
    heard = decode.all("audio", Media.model_validate(sound(wave(1.0, 1))))
    assert heard.shape == (8_000,)
    assert not decode.films
    long, short = (Media.model_validate(film(count, 32, 48, 1)) for count in (9, 2))
    seen = decode.all("videos", [long, short])
    assert [each.shape for each in seen] == [(3, 48, 32, 3), (2, 48, 32, 3)]
    assert decode.films


def test_a_sound_that_a_model_makes_becomes_one_where_its_rate_is_known() -> None:
    talker = object.__new__(AnyTalker)
    samples = torch.zeros(1, 20)
    config = SimpleNamespace(model_type="another", sampling_rate=None)
    talker._model = SimpleNamespace(config=config)
    assert talker._made("generated_audio", samples) is samples
    codec = SimpleNamespace(sampling_rate=16_000)
    for config, rate in (
        (SimpleNamespace(model_type="another", codec_config=codec), 16_000),
        (SimpleNamespace(model_type="qwen3_omni_moe"), 24_000),
    ):
        talker._model = SimpleNamespace(config=config)
        made = talker._made("generated_audio", samples)
        assert isinstance(made, Sound)
        assert made.rate == rate
        assert np.array_equal(made.samples, np.zeros(20))
