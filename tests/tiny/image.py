"""Tiny checkpoints that look at an image and tell something about all of it, or remake it."""

from collections.abc import Mapping
from typing import Any

import torch
import transformers as t

from tests.tiny import tokens
from tests.tiny.text import labels

ANIMALS = {0: "cat", 1: "dog", 2: "fox", 3: "bird"}
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
SQUARE = {"height": 32, "width": 32}
_SPECIALS = ("bos", "eos", "pad")
# Of what mixes patches as SegFormer does.
MIXED: Mapping[str, Any] = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [2, 1],
    "hidden_sizes": [16, 32],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 16,
    "initializer_range": 0.3,
}


def vit_classifier() -> list[Any]:
    config = t.ViTConfig(**VIT, initializer_range=0.3, **labels(ANIMALS))
    return [t.ViTForImageClassification(config), t.ViTImageProcessorPil(size=SQUARE)]


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


def vit_encoder() -> list[Any]:
    config = t.ViTConfig(**VIT, initializer_range=0.3)
    return [t.ViTModel(config), t.ViTImageProcessorPil(size=SQUARE)]


def vit_without_pooler() -> list[Any]:
    """As the body of a model that was trained to sort images is."""
    config = t.ViTConfig(**VIT, initializer_range=0.3)
    return [t.ViTModel(config, add_pooling_layer=False), t.ViTImageProcessorPil(size=SQUARE)]


def resnet_encoder() -> list[Any]:
    """Takes images of any size, and gives a map of vectors rather than a row of them."""
    config = t.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    return [t.ResNetModel(config), t.ViTImageProcessorPil(size=SQUARE)]


def dpt_depth() -> list[Any]:
    config = t.DPTConfig(
        **{**VIT, "num_hidden_layers": 4},
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        is_hybrid=False,
        initializer_range=0.1,
    )
    model = t.DPTForDepthEstimation(config)
    # Depths of some metres rather than millimetres.
    torch.nn.init.normal_(_last_layer(model).weight, std=10.0)
    torch.nn.init.constant_(_last_layer(model).bias, 3.0)
    return [model, t.DPTImageProcessorPil(size=SQUARE, do_pad=False)]


def dpt_flat() -> list[Any]:
    """Thinks everything equally far away."""
    model, processor = dpt_depth()
    torch.nn.init.zeros_(_last_layer(model).weight)
    torch.nn.init.zeros_(_last_layer(model).bias)
    return [model, processor]


def _last_layer(model: Any) -> Any:
    return [part for part in model.head.modules() if isinstance(part, torch.nn.Conv2d)][-1]


def glpn_depth() -> list[Any]:
    """Keeps the sizes of images, cut to multiples of 8."""
    return [
        t.GLPNForDepthEstimation(t.GLPNConfig(**MIXED)),
        t.GLPNImageProcessorPil(size_divisor=8),
    ]


def swin2sr() -> list[Any]:
    """Doubles the size of images, which it keeps but for a frame up to a multiple of 4."""
    config = t.Swin2SRConfig(
        image_size=16,
        patch_size=1,
        num_channels=3,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
        upscale=2,
        upsampler="pixelshuffledirect",
    )
    return [
        t.Swin2SRForImageSuperResolution(config),
        t.Swin2SRImageProcessorPil(size_divisor=4),
    ]


def reader(tokenizer: Any, limit: int, **more: Any) -> dict[str, Any]:
    """Give the configuration of the part of a model of images that reads texts."""
    own = {name: each for name, each in VIT.items() if name not in ("image_size", "patch_size")}
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in _SPECIALS}
    return {
        **own,
        **{name: each for name, each in ids.items() if each is not None},
        "vocab_size": len(tokenizer),
        "max_position_embeddings": limit,
        **more,
    }


def clip() -> list[Any]:
    tokenizer = tokens.clip()
    config = t.CLIPConfig(
        text_config=reader(tokenizer, 32, projection_dim=16, initializer_factor=8.0),
        vision_config={**VIT, "projection_dim": 16, "initializer_factor": 8.0},
        projection_dim=16,
    )
    processor = t.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    return [t.CLIPModel(config), tokenizer, processor]


def siglip() -> list[Any]:
    """Reads all texts at one length, without a mask, and scores each label by itself."""
    tokenizer = tokens.words()
    config = t.SiglipConfig(
        text_config=reader(tokenizer, 64, projection_size=32),
        vision_config=VIT,
    )
    model = t.SiglipModel(config)
    # Else it is as good as sure that no label fits.
    torch.nn.init.zeros_(model.logit_bias)
    torch.nn.init.constant_(model.logit_scale, 1.5)
    tokenizer.model_input_names = ["input_ids"]
    return [model, tokenizer, t.SiglipImageProcessorPil(size=SQUARE)]


BUILDERS = (
    vit_classifier,
    resnet_classifier,
    vit_encoder,
    vit_without_pooler,
    resnet_encoder,
    dpt_depth,
    dpt_flat,
    glpn_depth,
    swin2sr,
    clip,
    siglip,
)
