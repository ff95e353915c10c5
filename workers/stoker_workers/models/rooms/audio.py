"""The rooms of the tasks whose caller has a sound in hand, or wants one."""

from collections.abc import Mapping
from typing import Final

import transformers

from stoker_workers.models.adapters.audio import speech_adapter
from stoker_workers.models.adapters.listening import AudioClassifier, ZeroShotAudioClassifier
from stoker_workers.models.adapters.speaking import speaking_adapter
from stoker_workers.models.loading import Recipe
from stoker_workers.models.rooms.room import Room
from stoker_workers.models.vocoder import ROLE, vocoder_for

ROOMS: Final[Mapping[str, Room]] = {
    "audio-classification": Room(
        Recipe(
            transformers.AudioClassificationPipeline,
            (transformers.AutoModelForAudioClassification,),
        ),
        AudioClassifier,
    ),
    "zero-shot-audio-classification": Room(
        Recipe(transformers.ZeroShotAudioClassificationPipeline, (transformers.AutoModel,)),
        ZeroShotAudioClassifier,
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
    "text-to-audio": Room(
        Recipe(
            transformers.TextToAudioPipeline,
            (
                transformers.AutoModelForTextToWaveform,
                transformers.AutoModelForTextToSpectrogram,
            ),
            optional=("processor",),
            parts=(ROLE,),
            extras=vocoder_for,
        ),
        speaking_adapter,
    ),
}
