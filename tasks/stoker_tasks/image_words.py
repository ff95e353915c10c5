"""The tasks of a caller with an image in hand who wants words: what it shows, or an answer."""

from typing import Annotated, Any, ClassVar, Final, Literal, NotRequired, TypedDict

from pydantic import Field

from stoker_tasks.generation import GENERATION, GenerationParameters
from stoker_tasks.job import Job, Parameters
from stoker_tasks.media import FETCHED, FORMS, MediaInput
from stoker_tasks.spec import TaskSpec
from stoker_tasks.strict import Strict

_POINT: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
_NEEDS: Final = ("PIL",)


class ImageToTextParameters(Parameters):
    """What the image-to-text pipeline of transformers 4 takes.

    Attributes:
        prompt: What the caption begins with, or is about; not every model takes one.
        max_new_tokens: The most tokens to generate; 256 if neither this nor the model's own
            settings say otherwise.
        generate_kwargs: Further settings of `generate()`.
    """

    prompt: str | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    generate_kwargs: GenerationParameters | None = None


class ImageToText(Job):
    """Say what images show, or write down what is written in them."""

    task: ClassVar[str] = "image-to-text"
    inputs: MediaInput | Annotated[list[MediaInput], Field(min_length=1)] = Field(repr=False)
    parameters: ImageToTextParameters = Field(
        default_factory=ImageToTextParameters.unset, repr=False
    )


class Caption(TypedDict):
    """What an image shows, or what is written in it."""

    generated_text: str


class ImageQuestion(Strict):
    """An image and a question about it."""

    image: MediaInput = Field(repr=False)
    question: str = Field(repr=False)


class VisualQuestionAnsweringParameters(Parameters):
    """What the visual-question-answering pipeline of transformers 4 takes.

    Attributes:
        top_k: How many answers to return, best first, for models that choose among the answers
            they know; 5 if it is not given.
        padding: Pad the question: `max_length` to the most that the model can read.
        truncation: Cut a question that is longer than the model can read; refused as
            `invalid_input` otherwise.
    """

    top_k: Annotated[int, Field(ge=1)] | None = None
    padding: bool | Literal["longest", "max_length"] | None = None
    truncation: bool | None = None


class VisualQuestionAnswering(Job):
    """Answer questions about images."""

    task: ClassVar[str] = "visual-question-answering"
    inputs: ImageQuestion | Annotated[list[ImageQuestion], Field(min_length=1)] = Field(repr=False)
    parameters: VisualQuestionAnsweringParameters = Field(
        default_factory=VisualQuestionAnsweringParameters.unset, repr=False
    )


class ImageAnswer(TypedDict):
    """One answer, and how sure the model is of it if it chose among those it knows."""

    answer: str
    score: NotRequired[float]


def _first(output: Any, key: str) -> Any:
    if isinstance(output[0], list):
        return [_first(one, key) for one in output]
    return output[0][key]


TASKS = (
    TaskSpec(
        job=ImageToText,
        summary="say what images show, or write down what is written in them",
        inputs=f"the bytes of an image file ({FORMS}), or a list of these",
        output=list[Caption],
        left_out=FETCHED,
        forward_parameters=GENERATION | {"max_new_tokens", "generate_kwargs"},
        aliases=("image-captioning",),
        hand_over=lambda output: _first(output, "generated_text"),
        needs=_NEEDS,
        example={"inputs": {"base64": _POINT}, "parameters": {"max_new_tokens": 12}},
    ),
    TaskSpec(
        job=VisualQuestionAnswering,
        summary="answer questions about images",
        inputs='{"image", "question"}, the image as the bytes of its file '
        f"({FORMS}), or a list of these",
        output=list[ImageAnswer],
        left_out=FETCHED,
        aliases=("vqa",),
        hand_over=lambda output: _first(output, "answer"),
        needs=_NEEDS,
        example={
            "inputs": {"image": {"base64": _POINT}, "question": "What colour is this?"},
            "parameters": {"top_k": 3},
        },
    ),
)
