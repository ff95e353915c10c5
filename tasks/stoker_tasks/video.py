"""The task of a caller with a film in hand."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stoker_tasks.job import Job, Parameters
from stoker_tasks.media import FORMS, MediaInput
from stoker_tasks.spec import TaskSpec
from stoker_tasks.text import LabelScore


class VideoClassificationParameters(Parameters):
    """What the video-classification pipeline takes.

    Attributes:
        top_k: How many labels to return, best first; 5 if it is not given.
        num_frames: How many frames of the film the model looks at; as many as it was trained on if
            it is not given.
        frame_sampling_rate: Look at every so many-th frame, from the first on; at each if it is
            not given. Where a film is too short, its last frame is repeated.
        function_to_apply: Turns the model's outputs into scores; by default the one that fits
            the model's kind.
    """

    top_k: Annotated[int, Field(ge=1)] | None = None
    num_frames: Annotated[int, Field(ge=1, le=1024)] | None = None
    frame_sampling_rate: Annotated[int, Field(ge=1, le=20_000)] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class VideoClassification(Job):
    """Sort films into a model's classes."""

    task: ClassVar[str] = "video-classification"
    inputs: MediaInput | Annotated[list[MediaInput], Field(min_length=1)] = Field(repr=False)
    parameters: VideoClassificationParameters = Field(
        default_factory=VideoClassificationParameters.unset, repr=False
    )


TASKS = (
    TaskSpec(
        job=VideoClassification,
        summary="sort films into a model's classes",
        inputs=f"the bytes of a film's file, MP4, WebM, MKV, AVI, GIF … ({FORMS}), or a list of "
        "these",
        output=list[LabelScore],
        needs=("av", "PIL"),
        example={
            "inputs": {"base64": "R0lGODdhAgACAIAAAAAAAAAAACwAAAAAAgACAAAIBgABCAQQEAA7"},
            "parameters": {"top_k": 3},
        },
    ),
)
