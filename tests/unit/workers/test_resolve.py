"""Which task a model is for, from its files alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stoker_config.models_file import ModelEntry
from stoker_tasks.catalog import CATALOG
from stoker_tasks.errors import InvalidInput, UnknownModel, UnknownTask
from stoker_workers.models.resolve import from_files, resolve, with_tasks
from tests.tiny.fixture import TinyModel


def folder_of(tmp_path: Path, config: dict[str, Any], *files: str) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in files:
        (tmp_path / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("bert_classifier", "text-classification"),
        ("llama_classifier", "text-classification"),
        ("bert_tagger", "token-classification"),
        ("bert_filler", "fill-mask"),
        ("bert_encoder", "feature-extraction"),
        ("bert_nli", "zero-shot-classification"),
        ("bart_nli", "zero-shot-classification"),
        ("gpt2", "text-generation"),
        ("llama_chat", "text-generation"),
        ("vit_classifier", "image-classification"),
        ("speecht5", "text-to-audio"),
    ],
)
def test_a_checkpoint_tells_its_task(name: str, task: str, tiny: TinyModel) -> None:
    assert resolve(tiny(name)).task == task


# The matrix of model types and files of which transformers' own tables leave several.
@pytest.mark.parametrize(
    ("config", "files", "task"),
    [
        ({"architectures": ["T5ForConditionalGeneration"]}, [], "text2text-generation"),
        (
            {
                "architectures": ["T5ForConditionalGeneration"],
                "task_specific_params": {"summarization": {}},
            },
            [],
            "summarization",
        ),
        ({"architectures": ["MarianMTModel"], "model_type": "marian"}, [], "translation"),
        ({"architectures": ["BartForConditionalGeneration"]}, [], "text2text-generation"),
        (
            {"architectures": ["WhisperForConditionalGeneration"]},
            [],
            "automatic-speech-recognition",
        ),
        ({"architectures": ["LlavaForConditionalGeneration"]}, [], "image-text-to-text"),
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, [], "image-text-to-text"),
        ({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}, [], "text-generation"),
        (
            {"architectures": ["ClapModel"], "model_type": "clap"},
            [],
            "zero-shot-audio-classification",
        ),
        (
            {"architectures": ["LayoutLMv3ForQuestionAnswering"]},
            ["preprocessor_config.json"],
            "document-question-answering",
        ),
        ({"architectures": ["LayoutLMv3ForQuestionAnswering"]}, [], "question-answering"),
        (
            {
                "architectures": ["VisionEncoderDecoderModel"],
                "model_type": "vision-encoder-decoder",
                "encoder": {"model_type": "donut-swin"},
            },
            [],
            "document-question-answering",
        ),
        (
            {
                "architectures": ["VisionEncoderDecoderModel"],
                "model_type": "vision-encoder-decoder",
                "encoder": {"model_type": "vit"},
            },
            [],
            "image-to-text",
        ),
        (
            {"architectures": ["BlipForConditionalGeneration"], "model_type": "blip"},
            ["chat_template.jinja"],
            "image-text-to-text",
        ),
        ({"architectures": ["ViTModel"]}, ["preprocessor_config.json"], "image-feature-extraction"),
        ({"custom_pipelines": {"ner": {"impl": "own.Own"}}}, [], "token-classification"),
    ],
)
def test_an_architecture_tells_its_task(
    config: dict[str, Any], files: list[str], task: str, tmp_path: Path
) -> None:
    assert from_files(folder_of(tmp_path, config, *files)).task == task


@pytest.mark.parametrize(
    ("config", "candidates"),
    [
        (
            {"architectures": ["BlipForConditionalGeneration"], "model_type": "blip"},
            ("image-text-to-text", "image-to-text"),
        ),
        ({"architectures": ["XLMWithLMHeadModel"]}, ("fill-mask", "text-generation")),
        ({"architectures": ["AbacusModel"]}, ()),
        ({}, ()),
    ],
)
def test_what_is_ambiguous_is_not_guessed(
    config: dict[str, Any], candidates: tuple[str, ...], tmp_path: Path
) -> None:
    found = from_files(folder_of(tmp_path, config))
    assert (found.task, found.candidates) == (None, candidates)
    assert found.why


def test_a_card_says_more_than_an_architecture(tiny: TinyModel, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny("bert_encoder"), tmp_path / "model"))
    readme = folder / "README.md"
    for tag, task in (
        ("sentence-similarity", "feature-extraction"),
        ("ner", "token-classification"),
    ):
        readme.write_text(f"---\nlicense: mit\npipeline_tag: {tag}\n---\n# A model\n")
        assert from_files(folder).task == task
        assert from_files(folder).why == "pipeline_tag in its README"
    # A tag of no task of ours says nothing.
    readme.write_text("---\npipeline_tag: reinforcement-learning\n---\npipeline_tag: fill-mask\n")
    assert from_files(folder).why == "it is a bare encoder of texts"


def test_a_named_task_wins(tiny: TinyModel) -> None:
    assert resolve(tiny("bert_filler"), task="ner").task == "token-classification"
    with pytest.raises(UnknownTask):
        resolve(tiny("bert_filler"), task="juggling")


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(UnknownModel):
        resolve("/no/such/folder")


def test_a_listed_model_gets_its_task_where_it_must_be_known(
    tiny: TinyModel, tmp_path: Path
) -> None:
    entry = ModelEntry(model=tiny("bert_tagger"))
    assert with_tasks("tagger", entry) == entry
    default = entry.model_copy(update={"default": True})
    assert with_tasks("tagger", default).tasks == ("token-classification",)
    either = folder_of(tmp_path, {"architectures": ["XLMWithLMHeadModel"]})
    with pytest.raises(InvalidInput, match=r"models\.xlm: .* one of fill-mask, text-generation"):
        with_tasks("xlm", ModelEntry(model=str(either), preload=True))


def test_every_task_can_be_told_from_a_card(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {})
    for task in CATALOG:
        (folder / "README.md").write_text(f"---\npipeline_tag: {task}\n---\n")
        assert from_files(folder).task == task
