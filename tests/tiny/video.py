"""A tiny checkpoint that watches films."""

from typing import Any

import transformers as t

from tests.tiny.text import labels

SCENES = {0: "running", 1: "cooking", 2: "sleeping", 3: "swimming"}


def videomae() -> list[Any]:
    """Looks at 4 frames."""
    config = t.VideoMAEConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        num_frames=4,
        tubelet_size=2,
        initializer_range=0.3,
        **labels(SCENES),
    )
    processor = t.VideoMAEImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    return [t.VideoMAEForVideoClassification(config), processor]


BUILDERS = (videomae,)
