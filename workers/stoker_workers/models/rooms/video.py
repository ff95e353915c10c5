"""The room of the task whose caller has a film in hand."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.film import FilmClassifier
from stoker_workers.models.loading import Recipe
from stoker_workers.models.rooms.room import Room

ROOMS: Final[Mapping[str, Room]] = {
    "video-classification": Room(
        Recipe(
            transformers.VideoClassificationPipeline,
            (transformers.AutoModelForVideoClassification,),
            optional=("image_processor", "video_processor"),
        ),
        FilmClassifier,
    ),
}
