"""Cases of the task with models that watch films."""

from tests.parity.cases.case import Case
from tests.tiny.media import film

CASES = (
    Case(
        "video-classification",
        "video-classification",
        "videomae",
        [
            (film(5, 48, 40, 1), {"top_k": 1}),
            (film(9, 64, 64, 2), {"frame_sampling_rate": 2, "function_to_apply": "sigmoid"}),
            ([film(14, 80, 48, 3), film(13, 32, 48, 4)], {"frame_sampling_rate": 3, "top_k": 9}),
            (film(4, 40, 40, 5), {"num_frames": 4, "function_to_apply": "none"}),
        ],
        forwards=1,
    ),
)
