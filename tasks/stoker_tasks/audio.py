"""The tasks of a caller with a sound in hand."""

from typing import Annotated, Any, ClassVar, Literal, NotRequired, TypedDict

from pydantic import Field

from stoker_tasks.generation import GENERATION, GenerationParameters
from stoker_tasks.job import Job, Parameters
from stoker_tasks.media import MediaInput
from stoker_tasks.spec import TaskSpec

Seconds = Annotated[float, Field(gt=0.0)]


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
    inputs: MediaInput | Annotated[list[MediaInput], Field(min_length=1)] = Field(repr=False)
    parameters: AutomaticSpeechRecognitionParameters = Field(
        default_factory=AutomaticSpeechRecognitionParameters, repr=False
    )


class Transcript(TypedDict):
    """What was said, and when if that was asked for (seconds; the last end may be null)."""

    text: str
    chunks: NotRequired[list[dict[str, Any]]]


def _text(output: Any) -> Any:
    return [one["text"] for one in output] if isinstance(output, list) else output["text"]


TASKS = (
    TaskSpec(
        job=AutomaticSpeechRecognition,
        summary="write down what is said in a sound",
        inputs='the bytes of a sound file (in Python bytes or a pathlib.Path, as JSON {"base64"} '
        'or {"uri"}), or a list of these',
        output=Transcript,
        forward_parameters=GENERATION | {"generate_kwargs", "return_timestamps", "return_language"},
        hand_over=_text,
        needs=("soundfile", "scipy"),
        example={
            "inputs": {"base64": "UklGRiQAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQAAAAA="}
        },
    ),
)
