"""The rooms of the tasks that rewrite a text."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.seq2seq import TextRewriter
from stoker_workers.models.loading import Recipe
from stoker_workers.models.pipelines.text2text import (
    SummarizationPipeline,
    Text2TextGenerationPipeline,
    TranslationPipeline,
)
from stoker_workers.models.rooms.room import Room

_MODELS: Final = (transformers.AutoModelForSeq2SeqLM,)

ROOMS: Final[Mapping[str, Room]] = {
    "summarization": Room(Recipe(SummarizationPipeline, _MODELS), TextRewriter),
    "translation": Room(Recipe(TranslationPipeline, _MODELS), TextRewriter),
    "text2text-generation": Room(Recipe(Text2TextGenerationPipeline, _MODELS), TextRewriter),
}
