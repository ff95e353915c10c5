"""Cases of tasks with models that look at an image and tell something about all of it."""

from tests.parity.cases.case import Case
from tests.tiny.media import picture

CASES = (
    Case(
        "image-classification",
        "image-classification",
        "vit_classifier",
        [
            (picture(40, 30, 1), {"top_k": 1}),
            (picture(64, 64, 2, "JPEG"), {"function_to_apply": "sigmoid"}),
            ([picture(90, 50, 3), picture(20, 70, 4)], {"top_k": 3, "function_to_apply": "none"}),
        ],
        forwards=1,
    ),
    Case(
        "image-classification-of-any-size",
        "image-classification",
        "resnet_classifier",
        [
            (picture(40, 30, 1), {"top_k": 1}),
            (picture(40, 30, 5), {"top_k": 2}),
            (picture(64, 64, 2), {"function_to_apply": "sigmoid"}),
            (picture(30, 40, 3), {"top_k": 9}),
        ],
        forwards=3,
    ),
    Case(
        "zero-shot-image-classification",
        "zero-shot-image-classification",
        "clip",
        [
            (picture(40, 30, 1), {"candidate_labels": ["a cat", "a dog"]}),
            (picture(64, 64, 2), {"candidate_labels": ["red"], "hypothesis_template": "{}"}),
            (
                [picture(90, 50, 3), picture(20, 70, 4)],
                {"candidate_labels": ["x", "a b c", "dog"], "hypothesis_template": "all {}?"},
            ),
        ],
        forwards=1,
    ),
    Case(
        "zero-shot-image-classification-each-label-by-itself",
        "zero-shot-image-classification",
        "siglip",
        [
            (picture(40, 30, 1), {"candidate_labels": ["a fox", "the dog"]}),
            (picture(64, 64, 2), {"candidate_labels": ["food", "sports", "march"]}),
            ([picture(90, 50, 3)], {"candidate_labels": ["a"], "hypothesis_template": "{} !"}),
        ],
        forwards=1,
    ),
    Case(
        "image-feature-extraction",
        "image-feature-extraction",
        "vit_encoder",
        [
            (picture(40, 30, 1), {}),
            (picture(64, 64, 2), {"pool": True}),
            ([picture(90, 50, 3), picture(20, 70, 4)], {"pool": False}),
            (picture(64, 48, 5), {"image_processor_kwargs": {"do_normalize": False}}),
        ],
        forwards=1,
    ),
    Case(
        "image-feature-extraction-of-any-size",
        "image-feature-extraction",
        "resnet_encoder",
        [
            (picture(40, 30, 1), {"pool": True}),
            (picture(64, 64, 2), {}),
            (
                picture(90, 50, 3),
                {"image_processor_kwargs": {"size": {"height": 48, "width": 64}}, "pool": True},
            ),
        ],
        forwards=2,
    ),
    Case(
        "depth-estimation",
        "depth-estimation",
        "dpt_depth",
        [
            (picture(40, 30, 1), {}),
            (picture(128, 96, 2), {}),
            ([picture(90, 50, 3), picture(20, 70, 4)], {}),
        ],
        forwards=1,
    ),
    Case(
        "depth-estimation-of-any-size",
        "depth-estimation",
        "glpn_depth",
        [
            (picture(64, 48, 1), {}),
            (picture(70, 50, 2), {}),
            ([picture(96, 64, 3), picture(64, 50, 4)], {}),
        ],
        forwards=2,
    ),
    Case(
        "image-to-image",
        "image-to-image",
        "swin2sr",
        [
            (picture(30, 22, 1), {}),
            (picture(29, 21, 2), {}),
            ([picture(17, 30, 3), picture(30, 23, 4)], {}),
        ],
        forwards=2,
        judge="direct",
    ),
)
