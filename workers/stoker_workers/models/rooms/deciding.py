"""The room of the task that decides."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.decision import Decider
from stoker_workers.models.loading import Recipe
from stoker_workers.models.pipelines.decision import DecisionModel
from stoker_workers.models.rooms.room import Room

ROOMS: Final[Mapping[str, Room]] = {
    "decision": Room(
        Recipe(
            transformers.DecisionPipeline,
            # By itself transformers takes any Qwen for a decision model whose head got lost, and
            # makes one of eight billion random numbers.
            (
                transformers.AutoModelForCausalLM,
                transformers.AutoModelForImageTextToText,
                DecisionModel,
            ),
            optional=("processor",),
        ),
        Decider,
    ),
}
