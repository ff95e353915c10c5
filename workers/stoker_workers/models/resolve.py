"""Which task a model is for: what its name, its card on the hub or its files say.

In this order: a task that is given by name or alias; the hub's `pipeline_tag`; the same in the
front matter of the README; `custom_pipelines` and `architectures` of the config, the latter looked
up in transformers' tables of its auto classes; which files there are. Where these leave several,
none is guessed.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from stoker_config.models_file import ModelEntry
from stoker_tasks.catalog import ALIASES, CATALOG, find
from stoker_tasks.errors import InvalidInput
from stoker_workers.models.source import Wanted, locate

# Each task's auto classes, by the names of transformers' tables (modeling_auto.py).
_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "audio-classification": ("AUDIO_CLASSIFICATION",),
    "automatic-speech-recognition": ("CTC", "SPEECH_SEQ_2_SEQ", "TDT"),
    "text-to-audio": ("TEXT_TO_WAVEFORM", "TEXT_TO_SPECTROGRAM"),
    "text-classification": ("SEQUENCE_CLASSIFICATION",),
    "token-classification": ("TOKEN_CLASSIFICATION",),
    "table-question-answering": ("TABLE_QUESTION_ANSWERING",),
    "document-question-answering": ("DOCUMENT_QUESTION_ANSWERING",),
    "fill-mask": ("MASKED_LM",),
    "text-generation": ("CAUSAL_LM",),
    "zero-shot-image-classification": ("ZERO_SHOT_IMAGE_CLASSIFICATION",),
    "image-classification": ("IMAGE_CLASSIFICATION",),
    "image-segmentation": (
        "IMAGE_SEGMENTATION",
        "SEMANTIC_SEGMENTATION",
        "INSTANCE_SEGMENTATION",
        "UNIVERSAL_SEGMENTATION",
    ),
    "image-text-to-text": ("IMAGE_TEXT_TO_TEXT",),
    "object-detection": ("OBJECT_DETECTION",),
    "zero-shot-object-detection": ("ZERO_SHOT_OBJECT_DETECTION",),
    "decision": ("DECISION",),
    "depth-estimation": ("DEPTH_ESTIMATION",),
    "video-classification": ("VIDEO_CLASSIFICATION",),
    "mask-generation": ("MASK_GENERATION",),
    "keypoint-matching": ("KEYPOINT_MATCHING",),
    "any-to-any": ("MULTIMODAL_LM",),
    "question-answering": ("QUESTION_ANSWERING",),
    "visual-question-answering": ("VISUAL_QUESTION_ANSWERING",),
    "text2text-generation": ("SEQ_TO_SEQ_CAUSAL_LM",),
    "image-to-image": ("IMAGE_TO_IMAGE",),
}
# Tasks whose models other tasks have as well, or that have none of their own.
_SHARED: Final = {
    "zero-shot-classification",
    "zero-shot-audio-classification",
    "feature-extraction",
    "image-feature-extraction",
    "image-to-text",
    "summarization",
    "translation",
}
# The hub's names for tasks that transformers has under others.
_HUB_NAMES: Final = {
    "sentence-similarity": "feature-extraction",
    "text-to-speech": "text-to-audio",
}
# A model that can do more than these can do these, and is not said to be for them.
_GENERAL: Final = ("decision", "any-to-any")
_TRANSLATORS: Final = {"marian", "m2m_100", "nllb-moe", "fsmt", "mbart"}
_CAPTIONERS: Final = {"blip", "blip-2", "git", "pix2struct", "vision-encoder-decoder"}
_CARD: Final = re.compile(r"---\r?\n(.*?)\r?\n---", re.DOTALL)
_TAG: Final = re.compile(r"^pipeline_tag:\s*['\"]?([\w-]+)", re.MULTILINE)
_IMAGES: Final = "preprocessor_config.json"
_TOKENIZERS: Final = frozenset({"tokenizer.json", "tokenizer_config.json", "vocab.txt"})
# Seconds for the hub to answer.
_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is known of a model's task.

    Attributes:
        task: The task; None if there are several or none.
        why: What says so, in words.
        candidates: The tasks that the model can do, as far as its files tell.
    """

    task: str | None
    why: str
    candidates: tuple[str, ...] = ()


def resolve(model: str, revision: str | None = None, task: str | None = None) -> Resolution:
    """Find out which task a model is for.

    Args:
        model: A hub ID or a folder.
        revision: A branch, tag or commit of the hub; the default branch if None.
        task: The task's name or alias, where it is known already.

    Raises:
        UnknownTask: No task has the given name.
        UnknownModel: There is no such model.
        ModelLoadFailed: Its files cannot be had.
    """
    if task is not None:
        return Resolution(find(task).name, "it was named")
    if not Path(model).expanduser().is_dir():
        tagged = _known(_hub_tag(model, revision))
        if tagged:
            return Resolution(tagged, "the hub's pipeline_tag", (tagged,))
    folder = locate(model, revision, Wanted(kind="facts")).path
    return from_files(folder)


def from_files(folder: Path) -> Resolution:
    """Find out from a model's files which task it is for."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tagged = _known(_card_tag(folder / "README.md"))
    if tagged:
        return Resolution(tagged, "pipeline_tag in its README", (tagged,))
    custom = _known(next(iter(config.get("custom_pipelines") or ()), None))
    if custom:
        return Resolution(custom, "custom_pipelines in its config", (custom,))
    files = {file.name for file in folder.iterdir()}
    named = config.get("architectures") or []
    able: set[str] = set().union(*(_by_architecture().get(each, ()) for each in named))
    if not named or not able:
        return _bare(config, files)
    return _choose(able, config, files)


def with_tasks(name: str, entry: ModelEntry) -> ModelEntry:
    """Find the tasks of a listed model that names none, where they must be known.

    Args:
        name: Its name in the models file.
        entry: How it is listed.

    Raises:
        InvalidInput: Its task cannot be told; the message lists the candidates.
    """
    if entry.tasks or not (entry.preload or entry.default):
        return entry
    found = resolve(entry.model, entry.revision)
    if found.task is None:
        raise InvalidInput(
            f"models.{name}: for which task {entry.model} is cannot be told ({found.why}): write "
            f'tasks = ["…"], one of {", ".join(found.candidates) or "those of `stoker tasks`"}',
            {"candidates": list(found.candidates)},
        )
    return entry.model_copy(update={"tasks": (find(found.task).name,)})


def _choose(able: set[str], config: Mapping[str, Any], files: set[str]) -> Resolution:
    """Choose between the tasks whose auto classes know a model's architecture."""
    candidates = tuple(sorted(able))
    kind, labels = config.get("model_type"), config.get("label2id") or {}
    for general in _GENERAL:
        able = able - {general} or able
    if len(able) > 1:
        # Encoder-decoders are listed for the mask that they were trained with.
        able = able - {"fill-mask"} if "text2text-generation" in able else able
        if "automatic-speech-recognition" in able:
            able = able - {"text2text-generation"}
        if "image-text-to-text" in able:
            able = able - {"text-generation", "text2text-generation"}
        if able == {"document-question-answering", "question-answering"}:
            able = {"document-question-answering"} if _IMAGES in files else {"question-answering"}
    if able == {"text-classification"} and _entails(labels):
        return Resolution(
            "zero-shot-classification", "its labels are those of entailment", candidates
        )
    if able == {"text2text-generation"}:
        return _text_to_text(config, candidates)
    if kind in _CAPTIONERS and able & {"image-text-to-text", "image-to-text"}:
        return _captioner(config, files, candidates)
    if len(able) == 1:
        return Resolution(next(iter(able)), "architectures in its config", candidates)
    return Resolution(None, "its architecture serves several tasks", tuple(sorted(able)))


def _text_to_text(config: Mapping[str, Any], candidates: tuple[str, ...]) -> Resolution:
    if config.get("model_type") in _TRANSLATORS:
        return Resolution("translation", "its model type translates", candidates)
    if list(config.get("task_specific_params") or ()) == ["summarization"]:
        return Resolution("summarization", "task_specific_params in its config", candidates)
    return Resolution("text2text-generation", "architectures in its config", candidates)


def _captioner(
    config: Mapping[str, Any], files: set[str], candidates: tuple[str, ...]
) -> Resolution:
    if (config.get("encoder") or {}).get("model_type") == "donut-swin":
        return Resolution("document-question-answering", "its encoder is Donut's", candidates)
    if any(file.startswith("chat_template") for file in files):
        return Resolution("image-text-to-text", "it has a chat template", candidates)
    if config.get("model_type") == "vision-encoder-decoder":
        return Resolution("image-to-text", "its decoder is given images alone", candidates)
    either = ("image-text-to-text", "image-to-text")
    return Resolution(None, "it describes images, with a question or without", either)


def _bare(config: Mapping[str, Any], files: set[str]) -> Resolution:
    """Judge a model without a head by the files beside it."""
    if config.get("model_type") == "clap":
        return Resolution("zero-shot-audio-classification", "it compares sounds with texts")
    if config.get("model_type") == "vision-encoder-decoder":
        return _captioner(config, files, ())
    bare = set(config.get("architectures") or ()) <= _bare_names()
    if bare and _IMAGES in files and not files & _TOKENIZERS:
        return Resolution("image-feature-extraction", "it is a bare encoder of images")
    if bare and files & _TOKENIZERS:
        return Resolution("feature-extraction", "it is a bare encoder of texts")
    return Resolution(None, "nothing in its files says what it is for")


def _entails(labels: Iterable[str]) -> bool:
    return any(str(label).lower().startswith("entail") for label in labels)


def _known(name: str | None) -> str | None:
    name = _HUB_NAMES.get(name or "", name)
    name = ALIASES.get(name or "", name)
    return name if name in CATALOG or name in _TABLES or name in _SHARED else None


def _card_tag(readme: Path) -> str | None:
    if not readme.is_file():
        return None
    card = _CARD.match(readme.read_text(encoding="utf-8", errors="replace"))
    tag = _TAG.search(card[1]) if card else None
    return tag[1] if tag else None


def _hub_tag(model: str, revision: str | None) -> str | None:
    try:
        return HfApi().model_info(model, revision=revision, timeout=_SECONDS).pipeline_tag
    # What is wrong with the model or the network, fetching its files says better.
    except (OfflineModeIsEnabled, HfHubHTTPError, OSError, ValueError):
        return None


@cache
def _by_architecture() -> Mapping[str, frozenset[str]]:
    # Only here: it brings torch along, and a card often says enough.
    import transformers.models.auto.modeling_auto as tables

    found: dict[str, set[str]] = {}
    for task, names in _TABLES.items():
        for name in names:
            table = getattr(tables, f"MODEL_FOR_{name}_MAPPING_NAMES", {})
            for classes in table.values():
                for cls in classes if isinstance(classes, (list, tuple)) else (classes,):
                    found.setdefault(cls, set()).add(task)
    return {cls: frozenset(tasks) for cls, tasks in found.items()}


@cache
def _bare_names() -> frozenset[str]:
    import transformers.models.auto.modeling_auto as tables

    names = tables.MODEL_MAPPING_NAMES.values()
    return frozenset(
        cls
        for classes in names
        for cls in (classes if isinstance(classes, (list, tuple)) else (classes,))
    )
