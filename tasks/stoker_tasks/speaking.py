"""The task of a caller who wants to hear a text: as speech, or as the music that it describes."""

from typing import Annotated, Any, ClassVar, TypedDict

from pydantic import Field

from stoker_tasks.generation import GENERATION, GenerationParameters
from stoker_tasks.job import Job, Parameters
from stoker_tasks.spec import TaskSpec
from stoker_tasks.text import TokenizerParameters
from stoker_tasks.writing import Chat

Share = Annotated[float, Field(ge=0.0, le=100.0)]


class SoundGenerationParameters(GenerationParameters):
    """Settings of a sound model's `generate()`.

    Attributes:
        guidance_scale: Above 1, music keeps closer to its description (MusicGen).
    """

    guidance_scale: Annotated[float, Field(ge=0.0)] | None = None


class SoundForwardParameters(SoundGenerationParameters):
    """What the model itself takes: which of these it knows depends on its kind.

    Attributes:
        speaker_id: Which of its voices speaks (VITS with several speakers).
        speaker_embeddings: The voice that speaks, as an x-vector (SpeechT5, which needs one).
        threshold: How sure the model has to be that the text is spoken (SpeechT5).
        minlenratio: The least length of the speech, relative to that of the text (SpeechT5).
        maxlenratio: The greatest length of the speech, relative to that of the text (SpeechT5).
    """

    speaker_id: Annotated[int, Field(ge=0)] | None = None
    speaker_embeddings: Annotated[list[float], Field(min_length=1)] | None = None
    threshold: Annotated[float, Field(ge=0.0)] | None = None
    minlenratio: Share | None = None
    maxlenratio: Share | None = None


class TextToAudioParameters(Parameters):
    """What the text-to-audio pipeline takes.

    Attributes:
        preprocess_params: Settings of the tokenizer's call.
        forward_params: What the model takes beside the text: a voice, limits, settings of
            `generate()`.
        generate_kwargs: Settings of `generate()`, for models that generate; they win over
            `forward_params`.
    """

    preprocess_params: TokenizerParameters | None = None
    forward_params: SoundForwardParameters | None = None
    generate_kwargs: SoundGenerationParameters | None = None


class TextToAudio(Job):
    """Speak a text, or play the music that it describes."""

    task: ClassVar[str] = "text-to-audio"
    inputs: str | Chat | Annotated[list[str] | list[Chat], Field(min_length=1)] = Field(repr=False)
    parameters: TextToAudioParameters = Field(
        default_factory=TextToAudioParameters.unset, repr=False
    )


class StoredSound(TypedDict):
    """A sound in the artifact store: a WAV file of 16-bit samples."""

    artifact: str
    mime_type: str
    channels: int
    seconds: float


class SpokenText(TypedDict):
    """A sound, and how many samples a second it has."""

    audio: StoredSound
    sampling_rate: int


def _sound(output: Any) -> Any:
    if isinstance(output, list):
        return [_sound(one) for one in output]
    return {"uri": output["audio"]["artifact"]}


TASKS = (
    TaskSpec(
        job=TextToAudio,
        summary="speak a text, or play the music that it describes",
        inputs='a string, a chat (a list of {"role", "content"}), or a list of either',
        output=SpokenText,
        forward_parameters=GENERATION | {"forward_params", "generate_kwargs"},
        left_out={
            "processor_kwargs": "which settings a processor takes depends on the model; those of "
            "its tokenizer are in preprocess_params"
        },
        aliases=("text-to-speech",),
        hand_over=_sound,
        example={"inputs": "Hello, how are you?"},
    ),
)
