"""The tasks that say where in an image something is."""

from typing import Annotated, ClassVar, Literal, NotRequired, TypedDict

from pydantic import Field

from stoker_tasks.generation import Fraction
from stoker_tasks.image import EXAMPLE_IMAGE, IMAGES, Images
from stoker_tasks.job import Job, Parameters
from stoker_tasks.media import FETCHED, FORMS, MediaInput, StoredImage
from stoker_tasks.spec import TaskSpec
from stoker_tasks.text import Labels, LabelsByComma


class Box(TypedDict):
    """A rectangle in pixels of the image as it was sent."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


class Detection(TypedDict):
    """One object that was found, how sure the model is of it, and where it is."""

    score: float
    label: str
    box: Box


class ObjectDetectionParameters(Parameters):
    """What the object-detection pipeline takes.

    Attributes:
        threshold: Return objects that the model is surer of than this; 0.5 if it is not given.
    """

    threshold: Fraction = 0.5


class ObjectDetection(Job):
    """Find a model's kinds of objects in images."""

    task: ClassVar[str] = "object-detection"
    inputs: Images = Field(repr=False)
    parameters: ObjectDetectionParameters = Field(
        default_factory=ObjectDetectionParameters.unset, repr=False
    )


class ZeroShotObjectDetectionParameters(Parameters):
    """What the zero-shot-object-detection pipeline takes.

    Attributes:
        candidate_labels: What to look for: a list, or a string with commas.
        threshold: Return objects that the model is surer of than this; 0.1 if it is not given.
        top_k: How many objects to return, best first; all if it is not given.
    """

    candidate_labels: LabelsByComma | Labels
    threshold: Fraction = 0.1
    top_k: Annotated[int, Field(ge=1)] | None = None


class ZeroShotObjectDetection(Job):
    """Find objects in images that are named with the job."""

    task: ClassVar[str] = "zero-shot-object-detection"
    inputs: Images = Field(repr=False)
    parameters: ZeroShotObjectDetectionParameters = Field(repr=False)


class ImageSegmentationParameters(Parameters):
    """What the image-segmentation pipeline takes.

    Attributes:
        subtask: What to divide an image into, of what the model can do: things (`instance`),
            kinds (`semantic`), or things and the kinds around them (`panoptic`). By default
            the first that it can of panoptic, instance and semantic; OneFormer can do others than
            semantic where torchvision is installed.
        threshold: Return segments that the model is surer of than this; 0.9 if it is not given.
        mask_threshold: From here on a point belongs to a segment; 0.5 if it is not given.
        overlap_mask_area_threshold: Leave out a segment of which others cover more than the rest
            of this share; 0.5 if it is not given.
    """

    subtask: Literal["semantic", "instance", "panoptic"] | None = None
    threshold: Fraction = 0.9
    mask_threshold: Fraction = 0.5
    overlap_mask_area_threshold: Fraction = 0.5


class ImageSegmentation(Job):
    """Divide images into their parts."""

    task: ClassVar[str] = "image-segmentation"
    inputs: Images = Field(repr=False)
    parameters: ImageSegmentationParameters = Field(
        default_factory=ImageSegmentationParameters.unset, repr=False
    )


class Segment(TypedDict):
    """One part of an image.

    Attributes:
        score: How sure the model is; null where it does not say.
        label: What it is.
        mask: White where it is, and black elsewhere: as large as the image.
    """

    score: float | None
    label: str
    mask: StoredImage


class MaskGenerationParameters(Parameters):
    """What the mask-generation pipeline takes.

    Attributes:
        points_per_crop: The model is asked about a grid of so many by so many points; 32 if it is
            not given.
        points_per_batch: About how many points at a time; 64 if it is not given. More are faster
            and take more memory.
        crops_n_layers: Ask again about the quarters of the image, their quarters, and so on, so
            many times; 0 if it is not given.
        crop_overlap_ratio: By which share of the image's length crops overlap; 0.341 (512 of 1500)
            if it is not given.
        crop_n_points_downscale_factor: By how much the grid is coarser in each layer of crops; 1
            if it is not given.
        pred_iou_thresh: Leave out masks that the model thinks worse than this; 0.88 if it is not
            given.
        stability_score_thresh: Leave out masks that change more than this when `mask_threshold`
            does; 0.95 if it is not given.
        stability_score_offset: By how much `mask_threshold` changes for that; 1 if it is not
            given.
        mask_threshold: From here on a point belongs to a mask; 0 if it is not given.
        max_hole_area: Fill holes up to this many pixels, for models that can.
        max_sprinkle_area: Drop sprinkles up to this many pixels, for models that can.
        crops_nms_thresh: Of masks whose boxes overlap by more than this, keep the best; 0.7 if it
            is not given.
        output_rle_mask: Return each mask as run lengths, too.
        output_bboxes_mask: Return each mask's box, too.
    """

    points_per_crop: Annotated[int, Field(ge=1, le=128)] = 32
    points_per_batch: Annotated[int, Field(ge=1)] | None = 64
    crops_n_layers: Annotated[int, Field(ge=0, le=3)] = 0
    crop_overlap_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 512 / 1500
    crop_n_points_downscale_factor: Annotated[int, Field(ge=1)] = 1
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    max_hole_area: Annotated[float, Field(ge=0.0)] | None = None
    max_sprinkle_area: Annotated[float, Field(ge=0.0)] | None = None
    crops_nms_thresh: Fraction = 0.7
    output_rle_mask: bool = False
    output_bboxes_mask: bool = False


class MaskGeneration(Job):
    """Find the outlines of whatever is in an image."""

    task: ClassVar[str] = "mask-generation"
    inputs: Images = Field(repr=False)
    parameters: MaskGenerationParameters = Field(
        default_factory=MaskGenerationParameters.unset, repr=False
    )


class RunLengths(TypedDict):
    """A mask as the lengths of its runs, down the columns, beginning with those outside of it.

    Attributes:
        size: Height and width in pixels.
        counts: The lengths.
    """

    size: list[int]
    counts: list[int]


class Masks(TypedDict):
    """What was found in an image, best first.

    Attributes:
        masks: White where something is, and black elsewhere: each as large as the image.
        scores: How good the model thinks each mask is.
        rle_mask: The masks as run lengths.
        bounding_boxes: Their boxes: left, top, right and bottom in pixels.
    """

    masks: list[StoredImage]
    scores: list[float]
    rle_mask: NotRequired[list[RunLengths]]
    bounding_boxes: NotRequired[list[list[float]]]


class KeypointMatchingParameters(Parameters):
    """What the keypoint-matching pipeline takes.

    Attributes:
        threshold: Return matches that the model is surer of than this; 0 if it is not given.
    """

    threshold: Fraction = 0.0


_Pair = Annotated[list[MediaInput], Field(min_length=2, max_length=2)]


class KeypointMatching(Job):
    """Find the points that two images of a thing have in common."""

    task: ClassVar[str] = "keypoint-matching"
    inputs: _Pair | Annotated[list[_Pair], Field(min_length=1)] = Field(repr=False)
    parameters: KeypointMatchingParameters = Field(
        default_factory=KeypointMatchingParameters.unset, repr=False
    )


class Keypoint(TypedDict):
    """A point in pixels of an image as it was sent."""

    x: float
    y: float


class Match(TypedDict):
    """A point of the first image, the same one in the second, and how sure the model is of it."""

    keypoint_image_0: Keypoint
    keypoint_image_1: Keypoint
    score: float


TASKS = (
    TaskSpec(
        job=ObjectDetection,
        summary="find a model's kinds of objects in images",
        inputs=IMAGES,
        output=list[Detection],
        left_out=FETCHED,
        needs=("PIL",),
        example={"inputs": EXAMPLE_IMAGE, "parameters": {"threshold": 0.9}},
    ),
    TaskSpec(
        job=ZeroShotObjectDetection,
        summary="find objects in images that are named with the job",
        inputs=IMAGES,
        output=list[Detection],
        left_out=FETCHED,
        needs=("PIL",),
        example={
            "inputs": EXAMPLE_IMAGE,
            "parameters": {"candidate_labels": ["a house", "a cat"], "top_k": 3},
        },
    ),
    TaskSpec(
        job=ImageSegmentation,
        summary="divide images into their parts",
        inputs=IMAGES,
        output=list[Segment],
        left_out=FETCHED,
        needs=("PIL",),
        example={"inputs": EXAMPLE_IMAGE, "parameters": {"threshold": 0.5}},
    ),
    TaskSpec(
        job=MaskGeneration,
        summary="find the outlines of whatever is in an image",
        inputs=IMAGES,
        output=Masks,
        left_out=FETCHED,
        needs=("PIL", "torchvision"),
        example={"inputs": EXAMPLE_IMAGE, "parameters": {"points_per_crop": 8}},
    ),
    TaskSpec(
        job=KeypointMatching,
        summary="find the points that two images of a thing have in common",
        inputs="a pair of images as a list of two, or a list of such pairs; each is the bytes of "
        f"an image file ({FORMS})",
        output=list[Match],
        left_out=FETCHED,
        needs=("PIL",),
        example={"inputs": [EXAMPLE_IMAGE, EXAMPLE_IMAGE], "parameters": {"threshold": 0.2}},
    ),
)
