"""The tasks of a caller with a sound in hand."""

from typing import Annotated, Any, ClassVar, Final, Literal, NotRequired, TypedDict

from pydantic import Field

from stoker_tasks.generation import GENERATION, GenerationParameters
from stoker_tasks.job import Job, Parameters
from stoker_tasks.media import FORMS, MediaInput
from stoker_tasks.spec import TaskSpec
from stoker_tasks.text import Labels, LabelScore, Template

Seconds = Annotated[float, Field(gt=0.0)]
Sounds = MediaInput | Annotated[list[MediaInput], Field(min_length=1)]

_SOUNDS: Final = f"the bytes of a sound file ({FORMS}), or a list of these"
# A tenth of a second of a tone.
TONE: Final = (
    "UklGRogAAABXQVZFZm10IBAAAAABAAEA6AMAAOgDAAABAAgAZGF0YWQAAACAut/fuoBFICBFf7rf37qARSAgRX+639+6"
    "gEUgIEV/ut/fuoBFICBFf7rf37qARSAgRX+639+6f0UgIEV/ut/fuoBFICBFf7rf37qARSAgRX+639+6f0UgIEV/ut/f"
    "un9FICBF"
)
_NEEDS: Final = ("soundfile", "scipy")


class AudioClassificationParameters(Parameters):
    """What the audio-classification pipeline takes.

    Attributes:
        top_k: How many labels to return, best first; all if it is not given.
        function_to_apply: Turns the model's outputs into scores; by default the one that fits
            the model's kind.
    """

    top_k: Annotated[int, Field(ge=1)] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class AudioClassification(Job):
    """Sort sounds into a model's classes."""

    task: ClassVar[str] = "audio-classification"
    inputs: Sounds = Field(repr=False)
    parameters: AudioClassificationParameters = Field(
        default_factory=AudioClassificationParameters.unset, repr=False
    )


class ZeroShotAudioClassificationParameters(Parameters):
    """What the zero-shot-audio-classification pipeline takes.

    Attributes:
        candidate_labels: The classes to choose from.
        hypothesis_template: The sentence in which `{}` stands for a label; `This is a sound of
            {}.` if it is not given.
    """

    candidate_labels: Labels
    hypothesis_template: Template | None = None


class ZeroShotAudioClassification(Job):
    """Sort sounds into classes that are named with the job."""

    task: ClassVar[str] = "zero-shot-audio-classification"
    inputs: Sounds = Field(repr=False)
    parameters: ZeroShotAudioClassificationParameters = Field(repr=False)


class SpeechGenerationParameters(GenerationParameters):
    """Settings of a speech model's `generate()`.

    Attributes:
        language: The language that is spoken, for models of several languages.
        task: `transcribe`, or `translate` into English.
    """

    language: str | None = None
    task: Literal["transcribe", "translate"] | None = None


class AutomaticSpeechRecognitionParameters(Parameters):
    """What the automatic-speech-recognition pipeline takes.

    Attributes:
        return_timestamps: `word` or `char` for CTC models; `word` or true (segments) for Whisper.
        return_language: Whisper's guess of the language is part of the output.
        chunk_length_s: Cut a long sound into chunks of this many seconds.
        stride_length_s: By how many seconds the chunks overlap, left and right.
        generate_kwargs: Settings of `generate()`, for models that generate.
    """

    return_timestamps: bool | Literal["word", "char"] | None = None
    return_language: bool | None = None
    chunk_length_s: Seconds | None = None
    stride_length_s: float | Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    generate_kwargs: SpeechGenerationParameters | None = None


class AutomaticSpeechRecognition(Job):
    """Write down what is said in a sound."""

    task: ClassVar[str] = "automatic-speech-recognition"
    inputs: Sounds = Field(repr=False)
    parameters: AutomaticSpeechRecognitionParameters = Field(
        default_factory=AutomaticSpeechRecognitionParameters.unset, repr=False
    )


class Transcript(TypedDict):
    """What was said, and when if that was asked for (seconds; the last end may be null)."""

    text: str
    chunks: NotRequired[list[dict[str, Any]]]


def _text(output: Any) -> Any:
    return [one["text"] for one in output] if isinstance(output, list) else output["text"]


TASKS = (
    TaskSpec(
        job=AudioClassification,
        summary="sort sounds into a model's classes",
        inputs=_SOUNDS,
        output=list[LabelScore],
        needs=_NEEDS,
        example={"inputs": {"base64": TONE}, "parameters": {"top_k": 3}},
    ),
    TaskSpec(
        job=ZeroShotAudioClassification,
        summary="sort sounds into classes that are named with the job",
        inputs=_SOUNDS,
        output=list[LabelScore],
        needs=_NEEDS,
        example={
            "inputs": {"base64": TONE},
            "parameters": {"candidate_labels": ["a dog barking", "rain"]},
        },
    ),
    TaskSpec(
        job=AutomaticSpeechRecognition,
        summary="write down what is said in a sound",
        inputs=_SOUNDS,
        output=Transcript,
        forward_parameters=GENERATION | {"generate_kwargs", "return_timestamps", "return_language"},
        left_out={
            "decoder_kwargs": "it is for pyctcdecode, which reads a language model beside the "
            "speech model; workers load none",
            "ignore_warning": "all it does is to silence a warning, in the worker's log",
        },
        hand_over=_text,
        needs=_NEEDS,
        example={"inputs": {"base64": TONE}},
    ),
)
