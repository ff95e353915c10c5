"""The tasks of a caller with an image in hand."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stoker_tasks.job import Job, Parameters
from stoker_tasks.media import FORMS, MediaInput
from stoker_tasks.spec import TaskSpec
from stoker_tasks.text import LabelScore


class ImageClassificationParameters(Parameters):
    """What the image-classification pipeline takes.

    Attributes:
        top_k: How many labels to return, best first; 5 if it is not given.
        function_to_apply: Turns the model's outputs into scores; by default the one that fits
            the model's kind.
    """

    top_k: Annotated[int, Field(ge=1)] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class ImageClassification(Job):
    """Sort images into a model's classes."""

    task: ClassVar[str] = "image-classification"
    inputs: MediaInput | Annotated[list[MediaInput], Field(min_length=1)] = Field(repr=False)
    parameters: ImageClassificationParameters = Field(
        default_factory=ImageClassificationParameters, repr=False
    )


TASKS = (
    TaskSpec(
        job=ImageClassification,
        summary="sort images into a model's classes",
        inputs=f"the bytes of an image file ({FORMS}), or a list of these",
        output=list[LabelScore],
        needs=("PIL",),
        example={
            "inputs": {
                "base64": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ"
                "/pLvAAAAAElFTkSuQmCC"
            },
            "parameters": {"top_k": 3},
        },
    ),
)
