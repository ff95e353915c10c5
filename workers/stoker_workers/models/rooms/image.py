"""The rooms of the tasks whose caller has an image in hand."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.image import ImageClassifier
from stoker_workers.models.loading import Recipe
from stoker_workers.models.rooms.room import Room

ROOMS: Final[Mapping[str, Room]] = {
    "image-classification": Room(
        Recipe(
            transformers.ImageClassificationPipeline,
            (transformers.AutoModelForImageClassification,),
        ),
        ImageClassifier,
    ),
}
