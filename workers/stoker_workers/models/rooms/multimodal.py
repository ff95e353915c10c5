"""The rooms of the tasks whose caller talks about images, sounds and films."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.multimodal import AnyTalker, ImageTalker
from stoker_workers.models.loading import Recipe
from stoker_workers.models.rooms.room import Room

ROOMS: Final[Mapping[str, Room]] = {
    "image-text-to-text": Room(
        Recipe(transformers.ImageTextToTextPipeline, (transformers.AutoModelForImageTextToText,)),
        ImageTalker,
    ),
    "any-to-any": Room(
        Recipe(
            transformers.AnyToAnyPipeline,
            (transformers.AutoModelForMultimodalLM,),
            refused={
                "qwen2_5_omni": "its voices are kept in a pickle beside its weights: give a "
                "Qwen3-Omni model"
            },
        ),
        AnyTalker,
    ),
}
