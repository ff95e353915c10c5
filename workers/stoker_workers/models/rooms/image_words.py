"""The rooms of the tasks whose caller has an image in hand and wants words."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.image_words import Captioner, answering_adapter
from stoker_workers.models.loading import Recipe
from stoker_workers.models.pipelines.image_to_text import ImageToTextPipeline
from stoker_workers.models.pipelines.visual_question_answering import (
    VisualQuestionAnsweringPipeline,
)
from stoker_workers.models.rooms.room import Room

ROOMS: Final[Mapping[str, Room]] = {
    "image-to-text": Room(
        Recipe(ImageToTextPipeline, (transformers.AutoModelForImageTextToText,)), Captioner
    ),
    "visual-question-answering": Room(
        Recipe(
            VisualQuestionAnsweringPipeline, (transformers.AutoModelForVisualQuestionAnswering,)
        ),
        answering_adapter,
    ),
}
