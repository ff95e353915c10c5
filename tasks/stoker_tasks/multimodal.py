"""The tasks of a caller who talks about images, sounds and films, or asks for some."""

from typing import Annotated, Any, ClassVar, Final, Literal, NotRequired, TypedDict

from pydantic import Field

from stoker_tasks.audio import TONE
from stoker_tasks.chat import AnyChat, BesideChat, SeenChat
from stoker_tasks.generation import GENERATION, GenerationParameters
from stoker_tasks.job import Job, Parameters
from stoker_tasks.media import FETCHED, FORMS, MediaInput
from stoker_tasks.spec import TaskSpec
from stoker_tasks.strict import Strict

Many = Field(min_length=1)

_CONTENT: Final = (
    'a chat (a list of {"role", "content"}, the content being a string or a list of parts such as '
    '{"type": "text", "text"} and {"type": "image", "image"})'
)
_POINT: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)

_LEFT_OUT: Final = {
    **FETCHED,
    "processor_kwargs": "it may change the sizes and the padding by which Stoker tells what may "
    "share a batch",
    "return_tensors": "a job's output is text and files; numbers of tokens say nothing without the "
    "model's tokenizer",
    "return_type": "return_full_text says the same",
}


def _example(question: str, kind: str, data: str) -> dict[str, Any]:
    content = [{"type": kind, kind: {"base64": data}}, {"type": "text", "text": question}]
    return {
        "inputs": [{"role": "user", "content": content}],
        "parameters": {"max_new_tokens": 16, "return_full_text": False},
    }


class ImageTextToTextParameters(Parameters):
    """What the image-text-to-text pipeline takes, and one setting of Stoker's own.

    Attributes:
        max_new_tokens: The most tokens to generate; 256 if neither this nor the model's own
            settings say otherwise.
        generate_kwargs: Further settings of `generate()`.
        return_full_text: Whether the prompt is part of the output; true if it is not given.
        clean_up_tokenization_spaces: Remove the spaces that some tokenizers leave.
        skip_special_tokens: Leave special tokens out of the text; true if it is not given.
        stop_sequence: Strings that end the output once they are generated.
        continue_final_message: Continue the last message of a chat rather than answer it; if it
            is not given, that is done where the last message is the assistant's.
        tools: What an answer to a chat may call: JSON schemas of functions, for the model's chat
            template.
        num_frames: Stoker's own. How many frames of each film the model sees, evenly spread over
            it; 16 if it is not given.
    """

    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    generate_kwargs: GenerationParameters | None = None
    return_full_text: bool | None = None
    clean_up_tokenization_spaces: bool | None = None
    skip_special_tokens: bool | None = None
    stop_sequence: str | Annotated[list[str], Many] | None = None
    continue_final_message: bool | None = None
    tools: BesideChat | None = None
    num_frames: Annotated[int, Field(ge=1, le=1024)] | None = None


class ImagesAndText(Strict):
    """A prompt for models without chats: it names its images as the model wants them named."""

    text: str = Field(repr=False)
    images: MediaInput | Annotated[list[MediaInput], Many] = Field(repr=False)


class ImageTextToText(Job):
    """Answer a chat about images, or continue a text about them."""

    task: ClassVar[str] = "image-text-to-text"
    streams: ClassVar[bool] = True
    inputs: (
        str
        | ImagesAndText
        | SeenChat
        | Annotated[list[ImagesAndText] | list[str] | list[SeenChat], Many]
    ) = Field(repr=False)
    parameters: ImageTextToTextParameters = Field(
        default_factory=ImageTextToTextParameters.unset, repr=False
    )


class AnyToAnyParameters(ImageTextToTextParameters):
    """What the any-to-any pipeline takes, and one setting of Stoker's own.

    Attributes:
        generation_mode: What to make: `text` if it is not given; `image` by Janus, and `audio` by
            Qwen3-Omni, whose sounds no test has heard.
    """

    generation_mode: Literal["text", "image", "audio"] | None = None


class MediaAndText(Strict):
    """A prompt for models without chats: it names its media as the model wants them named."""

    text: str = Field(repr=False)
    images: MediaInput | Annotated[list[MediaInput], Many] | None = Field(None, repr=False)
    audio: MediaInput | Annotated[list[MediaInput], Many] | None = Field(None, repr=False)
    videos: MediaInput | Annotated[list[MediaInput], Many] | None = Field(None, repr=False)


class AnyToAny(Job):
    """Answer a chat about images, sounds and films, in words, as an image or as a sound."""

    task: ClassVar[str] = "any-to-any"
    streams: ClassVar[bool] = True
    inputs: (
        str
        | MediaAndText
        | AnyChat
        | Annotated[list[MediaAndText] | list[str] | list[AnyChat], Many]
    ) = Field(repr=False)
    parameters: AnyToAnyParameters = Field(default_factory=AnyToAnyParameters.unset, repr=False)


class AnsweredText(TypedDict):
    """An answer, or the chat with it as its last message; media are not given back."""

    generated_text: str | list[dict[str, Any]]


class StoredMedia(TypedDict):
    """An image or a sound in the artifact store."""

    artifact: str
    mime_type: str


class MadeOfAny(TypedDict):
    """What was asked for: one of the three."""

    generated_text: NotRequired[str | list[dict[str, Any]]]
    generated_image: NotRequired[StoredMedia]
    generated_audio: NotRequired[StoredMedia]


def _made(output: Any) -> Any:
    first = output[0]
    if isinstance(first, list):
        return [_made(one) for one in output]
    text = first.get("generated_text")
    if text is None:
        (stored,) = first.values()
        return {"uri": stored["artifact"]}
    if isinstance(text, str):
        return text
    answer = text[-1]["content"]
    return answer if isinstance(answer, str) else answer[-1]["text"]


TASKS = (
    TaskSpec(
        job=ImageTextToText,
        summary="answer a chat about images, or continue a text about them",
        inputs=f'{_CONTENT}; or a string, or {{"images", "text"}}; images and films as the bytes '
        f"of their files ({FORMS}); or a list of one kind of these",
        output=list[AnsweredText],
        forward_parameters=GENERATION | {"max_new_tokens", "generate_kwargs", "stop_sequence"},
        left_out=_LEFT_OUT,
        hand_over=_made,
        needs=("PIL",),
        example=_example("What colour is this?", "image", _POINT),
    ),
    TaskSpec(
        job=AnyToAny,
        summary="answer a chat about images, sounds and films, in words, as an image or a sound",
        inputs=f'{_CONTENT}; or a string, or {{"text", "images", "audio", "videos"}}; images, '
        f"sounds and films as the bytes of their files ({FORMS}); or a list of one kind of these",
        output=list[MadeOfAny],
        forward_parameters=GENERATION
        | {"max_new_tokens", "generate_kwargs", "stop_sequence", "generation_mode"},
        left_out={
            **_LEFT_OUT,
            "load_audio_from_video": "the pipeline is given a film's frames, and no file that has "
            "a sound",
        },
        hand_over=_made,
        needs=("PIL", "soundfile", "scipy"),
        # Images would need torchvision.
        example=_example("What do you hear?", "audio", TONE),
    ),
)
