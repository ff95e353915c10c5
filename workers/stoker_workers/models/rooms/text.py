"""The rooms of the tasks whose caller has text in hand."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.generation import TextGenerator
from stoker_workers.models.adapters.text import (
    FeatureExtractor,
    MaskFiller,
    TextClassifier,
    TokenClassifier,
    ZeroShotClassifier,
)
from stoker_workers.models.loading import Recipe
from stoker_workers.models.rooms.room import Room

ROOMS: Final[Mapping[str, Room]] = {
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
        Recipe(transformers.FeatureExtractionPipeline, (transformers.AutoModel,), headless=True),
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
}
