"""Tiny checkpoints that look at images."""

from typing import Any

import transformers as t

from tests.tiny.text import labels

ANIMALS = {0: "cat", 1: "dog", 2: "fox", 3: "bird"}


def vit_classifier() -> list[Any]:
    config = t.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        initializer_range=0.3,
        **labels(ANIMALS),
    )
    return [
        t.ViTForImageClassification(config),
        t.ViTImageProcessorPil(size={"height": 32, "width": 32}),
    ]


def resnet_classifier() -> list[Any]:
    """Takes images of any size: its processor keeps theirs."""
    config = t.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        **labels(ANIMALS),
    )
    return [t.ResNetForImageClassification(config), t.ViTImageProcessorPil(do_resize=False)]


BUILDERS = (vit_classifier, resnet_classifier)
