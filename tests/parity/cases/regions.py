"""Cases of tasks with models that say where in an image something is."""

from tests.parity.cases.case import Case
from tests.tiny.media import picture

LOW = {"threshold": 0.0, "mask_threshold": 0.05, "overlap_mask_area_threshold": 0.0}

CASES = (
    Case(
        "object-detection",
        "object-detection",
        "detr",
        [
            (picture(64, 48, 1), {"threshold": 0.78}),
            (picture(128, 96, 2), {"threshold": 0.5}),
            ([picture(80, 90, 3), picture(96, 72, 4)], {"threshold": 0.6}),
        ],
        forwards=2,
    ),
    Case(
        "object-detection-by-patches",
        "object-detection",
        "yolos",
        [
            (picture(64, 48, 1), {"threshold": 0.8}),
            (picture(128, 96, 2), {}),
            ([picture(80, 90, 3), picture(96, 72, 4)], {"threshold": 0.0}),
        ],
        forwards=2,
    ),
    Case(
        "image-segmentation",
        "image-segmentation",
        "segformer",
        [
            (picture(40, 30, 1), {}),
            (picture(64, 64, 2), {"subtask": "semantic"}),
            ([picture(90, 50, 3), picture(20, 70, 4)], {"threshold": 0.1}),
        ],
        forwards=1,
    ),
    Case(
        "image-segmentation-panoptic",
        "image-segmentation",
        "detr_panoptic",
        [
            (picture(64, 48, 1), LOW),
            (picture(128, 96, 2), {**LOW, "threshold": 0.4}),
            (picture(80, 90, 3), {**LOW, "subtask": "panoptic"}),
            ([picture(96, 72, 4), picture(60, 45, 6)], {**LOW, "mask_threshold": 0.5}),
            (picture(64, 48, 5), {"subtask": "semantic"}),
        ],
        forwards=2,
    ),
    Case(
        "image-segmentation-instances",
        "image-segmentation",
        "maskformer",
        [
            (picture(40, 30, 1), LOW),
            (picture(64, 64, 2), {**LOW, "subtask": "instance"}),
            ([picture(90, 50, 3), picture(20, 70, 4)], {**LOW, "threshold": 0.4}),
            (picture(64, 48, 5), {"subtask": "semantic"}),
        ],
        forwards=1,
    ),
    Case(
        "image-segmentation-part-by-part",
        "image-segmentation",
        "eomt",
        [
            (picture(64, 48, 1), {"subtask": "semantic"}),
            (picture(40, 60, 2), {"subtask": "semantic"}),
            ([picture(90, 90, 3), picture(96, 72, 4)], {"subtask": "semantic"}),
        ],
        forwards=2,
    ),
    Case(
        "image-segmentation-as-told-in-words",
        "image-segmentation",
        "oneformer",
        [
            (picture(64, 48, 1), {"subtask": "semantic"}),
            (picture(40, 60, 2), {"subtask": "semantic"}),
            ([picture(90, 90, 3), picture(96, 72, 4)], {"subtask": "semantic"}),
        ],
        forwards=1,
    ),
    Case(
        "keypoint-matching",
        "keypoint-matching",
        "superglue",
        [
            ([picture(64, 48, 1), picture(64, 48, 1)], {}),
            ([picture(80, 60, 2), picture(70, 50, 2)], {"threshold": 0.06}),
            (
                [
                    [picture(50, 70, 3), picture(64, 48, 4)],
                    [picture(90, 70, 5), picture(90, 70, 6)],
                ],
                {"threshold": 0.1},
            ),
            ([[picture(50, 70, 7), picture(64, 48, 7)]], {}),
        ],
        forwards=1,
    ),
    Case(
        "keypoint-matching-that-may-stop-early",
        "keypoint-matching",
        "lightglue",
        [
            ([picture(64, 48, 1), picture(64, 48, 1)], {}),
            ([picture(80, 60, 2), picture(70, 50, 2)], {"threshold": 0.01}),
            ([picture(50, 70, 3), picture(64, 48, 4)], {}),
            ([picture(50, 70, 7), picture(64, 48, 8)], {}),
            ([picture(90, 70, 5), picture(90, 70, 6)], {}),
        ],
        forwards=1,
    ),
    Case(
        "keypoint-matching-patch-by-patch",
        "keypoint-matching",
        "efficientloftr",
        [
            ([picture(64, 48, 1), picture(64, 48, 1)], {}),
            ([picture(80, 60, 2), picture(70, 50, 2)], {"threshold": 0.0001}),
            ([picture(50, 70, 3), picture(64, 48, 4)], {}),
        ],
        forwards=1,
    ),
    Case(
        "zero-shot-object-detection",
        "zero-shot-object-detection",
        "owlvit",
        [
            (picture(40, 30, 1), {"candidate_labels": ["a cat", "a dog"], "threshold": 0.0}),
            (picture(64, 64, 2), {"candidate_labels": "red, green,blue", "top_k": 5}),
            (
                [picture(90, 50, 3), picture(20, 70, 4)],
                {"candidate_labels": ["x"], "threshold": 0.3, "top_k": 2},
            ),
        ],
        forwards=1,
    ),
    Case(
        "zero-shot-object-detection-phrase-by-phrase",
        "zero-shot-object-detection",
        "grounding_dino",
        [
            (picture(64, 48, 1), {"candidate_labels": ["a fox.", "the dog."], "threshold": 0.05}),
            (picture(128, 96, 2), {"candidate_labels": "food.,the lazy dog.", "top_k": 5}),
            (
                [picture(80, 90, 3), picture(96, 72, 4)],
                {"candidate_labels": ["the fox."], "threshold": 0.02, "top_k": 4},
            ),
        ],
        forwards=4,
    ),
)

_ASKED = {
    "points_per_crop": 4,
    "pred_iou_thresh": -10.0,
    "stability_score_thresh": 0.0,
    "crops_nms_thresh": 0.9,
}
# They run where torchvision is: with_torchvision.py.
TOLD = Case(
    "image-segmentation-of-all-kinds",
    "image-segmentation",
    "oneformer",
    [
        (picture(40, 30, 1), LOW),
        (picture(64, 64, 2), {**LOW, "subtask": "instance"}),
        ([picture(90, 50, 3), picture(20, 70, 4)], {**LOW, "subtask": "panoptic"}),
        (picture(64, 48, 5), {"subtask": "semantic"}),
    ],
    forwards=1,
)
MASKS = (
    Case(
        "mask-generation",
        "mask-generation",
        "sam",
        [
            (picture(64, 48, 1), _ASKED),
            (picture(64, 64, 2), {**_ASKED, "points_per_batch": 5, "output_bboxes_mask": True}),
            (
                [picture(90, 50, 3), picture(20, 70, 4)],
                {**_ASKED, "mask_threshold": 0.02, "points_per_crop": 3, "output_rle_mask": True},
            ),
            (picture(48, 64, 5), {**_ASKED, "crops_n_layers": 1, "points_per_batch": None}),
            (picture(64, 48, 6), {**_ASKED, "crops_nms_thresh": 0.3, "stability_score_offset": 2}),
        ],
        forwards=1,
    ),
    Case(
        "mask-generation-of-high-quality",
        "mask-generation",
        "sam_hq",
        [
            (picture(64, 48, 1), _ASKED),
            (picture(64, 64, 2), {**_ASKED, "points_per_batch": 5, "crops_nms_thresh": 0.5}),
            (picture(50, 64, 3), {**_ASKED, "points_per_crop": 3, "mask_threshold": 0.01}),
        ],
        forwards=1,
    ),
    Case(
        "mask-generation-at-three-sizes",
        "mask-generation",
        "sam2",
        [
            (picture(64, 48, 1), _ASKED),
            (picture(64, 64, 2), {**_ASKED, "points_per_batch": 5, "crops_nms_thresh": 0.5}),
            (
                [picture(90, 50, 3), picture(20, 70, 4)],
                {**_ASKED, "points_per_crop": 3, "mask_threshold": 0.01},
            ),
            (picture(48, 64, 5), {**_ASKED, "crops_n_layers": 1}),
        ],
        forwards=1,
    ),
)
