"""The rooms of the tasks whose caller has a sound in hand."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.audio import speech_adapter
from stoker_workers.models.loading import Recipe
from stoker_workers.models.rooms.room import Room

ROOMS: Final[Mapping[str, Room]] = {
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
