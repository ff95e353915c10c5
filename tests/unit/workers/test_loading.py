import json
import shutil
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers.processors import TemplateProcessing

from stoker_config.models_file import ModelEntry
from stoker_tasks.errors import ModelLoadFailed, UnknownModel, UnknownTask
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.catalog import ROOMS, load
from stoker_workers.models.device import Device, find_device
from stoker_workers.models.files import find_files
from stoker_workers.models.loading import load_pipeline
from tests.parity.batched import differences, jobs_of, pipeline_alone, run_batched
from tests.tiny.fixture import TinyModel

CPU = find_device("cpu")


@pytest.fixture
def folder(tiny: TinyModel, tmp_path: Path) -> Path:
    """A model's folder that a test may spoil."""
    return Path(shutil.copytree(tiny("bert_classifier"), tmp_path / "model"))


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("task", "config", "why"),
    [
        ("document-question-answering", "LayoutLMv2Config", "by means of detectron2"),
        ("any-to-any", "Qwen2_5OmniConfig", "its voices are kept in a pickle"),
    ],
)
def test_models_that_are_not_served_say_why(task: str, config: str, why: str, folder: Path) -> None:
    getattr(transformers, config)().save_pretrained(folder)
    with pytest.raises(ModelLoadFailed, match=f"model, which is not served: .*{why}.*: give a"):
        load(ModelKey(task, str(folder)), CPU)


def test_on_a_cpu_everything_is_float32(folder: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)
    loaded = load(ModelKey("text-classification", str(folder)), CPU)._model
    assert loaded.dtype == torch.float32
    assert not loaded.training


def test_padding_is_the_end_token_where_there_is_none(tiny: TinyModel) -> None:
    pipeline = load(ModelKey("text-generation", tiny("gpt2")), CPU)._pipeline
    assert pipeline.tokenizer.pad_token_id == pipeline.tokenizer.eos_token_id
    assert pipeline.model.config.pad_token_id == pipeline.tokenizer.eos_token_id


def test_padding_is_not_the_end_token_where_texts_end_with_it(
    tiny: TinyModel, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny("llama_classifier"), tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    end = ("<|im_end|>", tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("$A <|im_end|>", None, [end])
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.save_pretrained(folder)
    calls = [(text, {"top_k": None}) for text in ("a cat", "two dogs and a bird")]
    model = load(ModelKey("text-classification", str(folder)), CPU)
    loaded = model._pipeline.tokenizer
    assert loaded("a")["input_ids"][-1] == loaded.eos_token_id != loaded.pad_token_id
    outputs, forwards = run_batched(model, jobs_of("text-classification", calls))
    alone = pipeline_alone("text-classification", str(folder))
    assert forwards == 1
    for (text, given), output in zip(calls, outputs, strict=True):
        assert not differences(output.value, alone(text, **given))


def test_a_device_that_is_lost_is_no_failure_of_the_model(folder: Path, tmp_path: Path) -> None:
    def lose(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    recipe = replace(ROOMS["text-classification"].recipe, extras=lose)
    entry = ModelEntry(model=str(folder))
    key = ModelKey("text-classification", str(folder))
    files = find_files(key, entry, recipe.roles, tmp_path)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        load_pipeline(key.task, recipe, files, CPU, entry.loading)


def test_a_lost_device_is_told_of_though_a_library_has_words_of_its_own(folder: Path) -> None:
    class Lost(Device):
        def check(self) -> None:
            raise RuntimeError("CUDA error: unspecified launch failure")

    (folder / "model.safetensors").write_bytes(b"no weights")
    key = ModelKey("text-classification", str(folder))
    with pytest.raises(ModelLoadFailed):
        load(key, CPU)
    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        load(key, Lost(*astuple(CPU)))


def test_an_unknown_task() -> None:
    with pytest.raises(UnknownTask, match="text-classification"):
        load(ModelKey("juggling", "x"), CPU)


def test_an_unknown_model() -> None:
    with pytest.raises(UnknownModel):
        load(ModelKey("text-classification", "/no/such/model"), CPU)


def test_a_model_of_another_kind(tiny: TinyModel) -> None:
    with pytest.raises(ModelLoadFailed, match="is a vit model, which cannot do fill-mask"):
        load(ModelKey("fill-mask", tiny("vit_classifier")), CPU)


def test_a_head_that_was_never_trained(tiny: TinyModel) -> None:
    with pytest.raises(ModelLoadFailed, match=r"no weights for classifier.*not trained for token"):
        load(ModelKey("token-classification", tiny("bert_encoder")), CPU)


def test_the_bare_model_of_one_with_a_head(tiny: TinyModel) -> None:
    load(ModelKey("feature-extraction", tiny("bert_filler")), CPU)


def test_broken_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelLoadFailed, match="could not be loaded"):
        load(ModelKey("text-classification", str(folder)), CPU)


def test_an_architecture_that_nobody_knows(folder: Path) -> None:
    change_config(folder, model_type="abacus")
    with pytest.raises(ModelLoadFailed, match="abacus"):
        load(ModelKey("text-classification", str(folder)), CPU)


def test_code_that_comes_with_a_model_is_not_run(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    change_config(
        folder,
        model_type="abacus",
        auto_map={
            "AutoConfig": "evil.Config",
            "AutoModelForSequenceClassification": "evil.Model",
        },
    )
    with pytest.raises(ModelLoadFailed):
        load(ModelKey("text-classification", str(folder)), CPU)


@pytest.mark.parametrize(
    "raised",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("out of memory")],
)
def test_a_model_that_does_not_fit(
    raised: Exception, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starve(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(transformers.AutoModelForSequenceClassification, "from_pretrained", starve)
    with pytest.raises(ModelLoadFailed, match="does not fit into the memory of cpu"):
        load(ModelKey("text-classification", tiny("bert_classifier")), CPU)
