"""Models that make sounds."""

import shutil
from pathlib import Path

import pytest

from stoker_tasks.errors import InvalidInput, ModelLoadFailed
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import run_batched
from tests.tiny.fixture import TinyModel

TASK = "text-to-audio"
CPU = find_device("cpu")


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        ("Hello", {}, "set forward_params with speaker_embeddings, a list of 8 numbers"),
        ("Hello", {"forward_params": {"speaker_embeddings": [1.0]}}, "a list of 8 numbers"),
        ("Hello " * 50, {}, "the text has 301 tokens and this model reads at most 100"),
    ],
)
def test_what_a_model_with_voices_refuses(
    inputs: str, parameters: dict[str, object], message: str, tiny: TinyModel
) -> None:
    model = load(ModelKey(TASK, tiny("speecht5")), CPU)
    job = make_job(TASK, {"inputs": inputs, "parameters": parameters})
    with pytest.raises(InvalidInput, match=message):
        model.preprocess(job, {})


@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        ("vits", {"forward_params": {"threshold": 0.5}}, "takes no threshold"),
        ("vits", {"generate_kwargs": {"do_sample": False}}, "takes no do_sample"),
        ("speecht5", {"forward_params": {"speaker_id": 1}}, "takes no speaker_id"),
    ],
)
def test_settings_that_a_model_does_not_know(
    model: str, parameters: dict[str, object], message: str, tiny: TinyModel
) -> None:
    # By themselves, these models would ignore them without a word.
    loaded = load(ModelKey(TASK, tiny(model)), CPU)
    job = make_job(TASK, {"inputs": "hello", "parameters": parameters})
    with pytest.raises(InvalidInput, match=message):
        loaded.preprocess(job, {})


def test_settings_that_generate_does_not_know(tiny: TinyModel) -> None:
    model = load(ModelKey(TASK, tiny("musicgen")), CPU)
    job = make_job(TASK, {"inputs": "hello", "parameters": {"forward_params": {"speaker_id": 1}}})
    with pytest.raises(InvalidInput, match="the model refuses these settings"):
        run_batched(model, [job])


def test_a_model_of_spectrograms_without_a_vocoder(tiny: TinyModel, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("speecht5"), tmp_path / "model")
    shutil.rmtree(folder / "vocoder")
    with pytest.raises(ModelLoadFailed, match="put one into the folder 'vocoder' beside its files"):
        load(ModelKey(TASK, str(folder)), CPU)
