"""The tasks of a caller with an image in hand, and a question about all of it."""

from typing import Annotated, Any, ClassVar, Final, Literal, TypedDict

from pydantic import Field

from stoker_tasks.job import Job, Parameters
from stoker_tasks.media import FETCHED, FORMS, MediaInput, StoredArray, StoredImage
from stoker_tasks.spec import TENSORS, TaskSpec
from stoker_tasks.text import Labels, LabelScore, Template

Images = MediaInput | Annotated[list[MediaInput], Field(min_length=1)]

IMAGES: Final = f"the bytes of an image file ({FORMS}), or a list of these"
# A red square between a blue sky and a green field.
EXAMPLE_IMAGE: Final = {
    "base64": "iVBORw0KGgoAAAANSUhEUgAAABAAAAAMAgMAAAAWidUSAAAACVBMVEVaoNzIPCgoeCi60K5GAAAAHUlEQVR4"
    "2mNgwAZEQxiYGBgYkAjGVa8PhkBZMDEARacDyqEF/J8AAAAASUVORK5CYII="
}

# An image of this many pixels a side is far more than any model looks at.
_Edge = Annotated[int, Field(ge=1, le=4096)]


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
    inputs: Images = Field(repr=False)
    parameters: ImageClassificationParameters = Field(
        default_factory=ImageClassificationParameters.unset, repr=False
    )


class ZeroShotImageClassificationParameters(Parameters):
    """What the zero-shot-image-classification pipeline takes.

    Attributes:
        candidate_labels: The classes to choose from.
        hypothesis_template: The sentence in which `{}` stands for a label; `This is a photo of
            {}.` if it is not given.
    """

    candidate_labels: Labels
    hypothesis_template: Template = "This is a photo of {}."


class ZeroShotImageClassification(Job):
    """Sort images into classes that are named with the job."""

    task: ClassVar[str] = "zero-shot-image-classification"
    inputs: Images = Field(repr=False)
    parameters: ZeroShotImageClassificationParameters = Field(repr=False)


class ImageSize(Parameters):
    """The size of an image in pixels: height and width, or one edge or both.

    Attributes:
        height: With `width`, the size itself.
        width: With `height`, the size itself.
        shortest_edge: The shorter of the two; the other one keeps the proportions.
        longest_edge: The most that the longer of the two may have.
    """

    height: _Edge | None = None
    width: _Edge | None = None
    shortest_edge: _Edge | None = None
    longest_edge: _Edge | None = None


class ImageProcessorParameters(Parameters):
    """Settings of a model's image processor; each is the model's own if it is not given.

    Attributes:
        do_resize: Whether to scale images to `size`.
        size: What to scale images to.
        do_center_crop: Whether to cut `crop_size` out of the middle.
        crop_size: What to cut out.
        do_normalize: Whether to shift and scale the colours by `image_mean` and `image_std`.
        image_mean: What to subtract from each colour.
        image_std: What to divide each colour by.
    """

    do_resize: bool | None = None
    size: ImageSize | None = None
    do_center_crop: bool | None = None
    crop_size: ImageSize | None = None
    do_normalize: bool | None = None
    image_mean: list[float] | None = None
    image_std: list[Annotated[float, Field(gt=0.0)]] | None = None


class ImageFeatureExtractionParameters(Parameters):
    """What the image-feature-extraction pipeline takes.

    Attributes:
        pool: Return the model's pooled output, one vector an image, rather than all its vectors;
            false if it is not given.
        image_processor_kwargs: Settings of the image processor's call.
    """

    pool: bool = False
    image_processor_kwargs: ImageProcessorParameters | None = None


class ImageFeatureExtraction(Job):
    """Turn images into vectors."""

    task: ClassVar[str] = "image-feature-extraction"
    inputs: Images = Field(repr=False)
    parameters: ImageFeatureExtractionParameters = Field(
        default_factory=ImageFeatureExtractionParameters.unset, repr=False
    )


class DepthEstimationParameters(Parameters):
    """The depth-estimation pipeline takes none."""


class DepthEstimation(Job):
    """Tell how far away each point of an image is."""

    task: ClassVar[str] = "depth-estimation"
    inputs: Images = Field(repr=False)
    parameters: DepthEstimationParameters = Field(
        default_factory=DepthEstimationParameters.unset, repr=False
    )


class Depth(TypedDict):
    """How far away each point of an image is.

    Attributes:
        predicted_depth: The model's number for each point, in rows.
        depth: The same as a picture, from black (the smallest number) to white (the largest).
    """

    predicted_depth: StoredArray | list[list[float]]
    depth: StoredImage


class ImageToImageParameters(Parameters):
    """The image-to-image pipeline takes none."""


class ImageToImage(Job):
    """Make a better image of an image: larger, sharper, cleaner."""

    task: ClassVar[str] = "image-to-image"
    inputs: Images = Field(repr=False)
    parameters: ImageToImageParameters = Field(
        default_factory=ImageToImageParameters.unset, repr=False
    )


def _as_input(image: Any) -> Any:
    return {"uri": image["artifact"]}


def _image(output: Any) -> Any:
    return [_as_input(one) for one in output] if isinstance(output, list) else _as_input(output)


def _depth_image(output: Any) -> Any:
    return _image([one["depth"] for one in output] if isinstance(output, list) else output["depth"])


TASKS = (
    TaskSpec(
        job=ImageClassification,
        summary="sort images into a model's classes",
        inputs=IMAGES,
        output=list[LabelScore],
        left_out=FETCHED,
        needs=("PIL",),
        example={"inputs": EXAMPLE_IMAGE, "parameters": {"top_k": 3}},
    ),
    TaskSpec(
        job=ZeroShotImageClassification,
        summary="sort images into classes that are named with the job",
        inputs=IMAGES,
        output=list[LabelScore],
        left_out={
            **FETCHED,
            "tokenizer_kwargs": "transformers' pipeline takes it and does nothing with it",
        },
        needs=("PIL",),
        example={
            "inputs": EXAMPLE_IMAGE,
            "parameters": {"candidate_labels": ["a house", "a ship", "a cat"]},
        },
    ),
    TaskSpec(
        job=ImageFeatureExtraction,
        summary="turn images into vectors",
        inputs=IMAGES,
        output=StoredArray | list[list[list[float]]] | list[list[float]],
        left_out={**FETCHED, "return_tensors": TENSORS},
        needs=("PIL",),
        example={"inputs": EXAMPLE_IMAGE, "parameters": {"pool": True}},
    ),
    TaskSpec(
        job=DepthEstimation,
        summary="tell how far away each point of an image is",
        inputs=IMAGES,
        output=Depth,
        left_out={**FETCHED, "parameters": "nothing but a timeout may stand in it"},
        hand_over=_depth_image,
        needs=("PIL",),
        example={"inputs": EXAMPLE_IMAGE},
    ),
    TaskSpec(
        job=ImageToImage,
        summary="make a better image of an image: larger, sharper, cleaner",
        inputs=IMAGES,
        output=StoredImage,
        left_out=FETCHED,
        hand_over=_image,
        needs=("PIL",),
        example={"inputs": EXAMPLE_IMAGE},
    ),
)
