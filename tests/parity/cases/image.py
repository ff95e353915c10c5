"""Cases of tasks with models that look at images."""

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
)
