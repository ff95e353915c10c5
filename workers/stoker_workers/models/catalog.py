"""Which pipeline, model classes and adapter serve each task, and how a model is loaded for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import transformers

from stoker_tasks.errors import UnknownTask
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.adapters.audio import speech_adapter
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.adapters.generation import TextGenerator
from stoker_workers.models.adapters.image import ImageClassifier
from stoker_workers.models.adapters.text import (
    FeatureExtractor,
    MaskFiller,
    TextClassifier,
    TokenClassifier,
    ZeroShotClassifier,
)
from stoker_workers.models.device import Device
from stoker_workers.models.loading import Recipe, load_pipeline
from stoker_workers.models.source import locate


@dataclass(frozen=True, slots=True)
class Room:
    """Who serves a task: its components and the adapter that runs them."""

    recipe: Recipe
    adapter: Callable[[Any, str, Device], Adapter]


ROOMS: Final[Mapping[str, Room]] = MappingProxyType(
    {
        "text-classification": Room(
            Recipe(
                transformers.TextClassificationPipeline,
                (transformers.AutoModelForSequenceClassification,),
            ),
            TextClassifier,
        ),
        "token-classification": Room(
            Recipe(
                transformers.TokenClassificationPipeline,
                (transformers.AutoModelForTokenClassification,),
            ),
            TokenClassifier,
        ),
        "fill-mask": Room(
            Recipe(transformers.FillMaskPipeline, (transformers.AutoModelForMaskedLM,)),
            MaskFiller,
        ),
        "feature-extraction": Room(
            Recipe(
                transformers.FeatureExtractionPipeline, (transformers.AutoModel,), headless=True
            ),
            FeatureExtractor,
        ),
        "zero-shot-classification": Room(
            Recipe(
                transformers.ZeroShotClassificationPipeline,
                (transformers.AutoModelForSequenceClassification,),
            ),
            ZeroShotClassifier,
        ),
        "text-generation": Room(
            Recipe(transformers.TextGenerationPipeline, (transformers.AutoModelForCausalLM,)),
            TextGenerator,
        ),
        "image-classification": Room(
            Recipe(
                transformers.ImageClassificationPipeline,
                (transformers.AutoModelForImageClassification,),
            ),
            ImageClassifier,
        ),
        "automatic-speech-recognition": Room(
            Recipe(
                transformers.AutomaticSpeechRecognitionPipeline,
                (
                    transformers.AutoModelForCTC,
                    transformers.AutoModelForTDT,
                    transformers.AutoModelForSpeechSeq2Seq,
                ),
            ),
            speech_adapter,
        ),
    }
)


def load(key: ModelKey, device: Device) -> Adapter:
    """Load a model for a task.

    Args:
        key: The task, the model and its revision.
        device: Where to put it.

    Returns:
        The warm model.

    Raises:
        UnknownTask: No room serves the task.
        UnknownModel: The model's files were not found.
        ModelLoadFailed: They were found, but cannot be loaded for this task.
    """
    room = ROOMS.get(key.task)
    if room is None:
        raise UnknownTask(f"this worker has no room for {key.task}; it has {', '.join(ROOMS)}")
    # What a model that was given up held until now.
    device.release_memory()
    source = locate(key.model, key.revision)
    pipeline = load_pipeline(key.task, room.recipe, source.path, key.model, device)
    return room.adapter(pipeline, f"{key.model}@{source.commit}", device)
