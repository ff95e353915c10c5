"""Tiny checkpoints that say where in an image something is."""

from collections.abc import Mapping
from typing import Any

import torch
import transformers as t

from tests.tiny import tokens
from tests.tiny.image import MIXED, VIT, reader
from tests.tiny.text import labels

THINGS = {0: "cat", 1: "couch", 2: "wall"}
SHORT_EDGE = {"shortest_edge": 64, "longest_edge": 96}
SQUARE = {"height": 64, "width": 64}
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_SWIN: Mapping[str, Any] = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 2, 4],
    "window_size": 4,
}


def _detr(**settings: Any) -> Any:
    stages = settings.pop("out_features", ["stage4"])
    backbone = t.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=stages,
    )
    return t.DetrConfig(
        backbone_config=backbone,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        num_queries=6,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        init_std=0.3,
        **settings,
    )


def _find_something(classifier: Any) -> None:
    """Keep a random net from thinking that there is nothing anywhere."""
    torch.nn.init.constant_(classifier.bias[-1:], -10.0)


def detr() -> list[Any]:
    model = t.DetrForObjectDetection(_detr(**labels(THINGS)))
    _find_something(model.class_labels_classifier)
    return [model, t.DetrImageProcessorPil(size=SHORT_EDGE)]


def yolos() -> list[Any]:
    """Its processor makes a mask of what is padding, which the model does not read."""
    config = t.YolosConfig(
        **{**VIT, "image_size": [64, 96]},
        num_detection_tokens=6,
        initializer_range=0.3,
        **labels(THINGS),
    )
    model = t.YolosForObjectDetection(config)
    torch.nn.init.normal_(model.vit.embeddings.detection_tokens)
    return [model, t.YolosImageProcessorPil(size=SHORT_EDGE)]


def detr_panoptic() -> list[Any]:
    config = _detr(out_features=_STAGES, **labels(THINGS))
    model = t.DetrForSegmentation(config)
    _find_something(model.detr.class_labels_classifier)
    # Else its queries see the same in all the image.
    torch.nn.init.normal_(model.detr.model.query_position_embeddings.weight)
    for part in model.bbox_attention.parameters():
        torch.nn.init.normal_(part, std=1.5)
    torch.nn.init.normal_(model.mask_head.conv1.conv.weight[:, config.d_model :], std=30.0)
    return [model, t.DetrImageProcessorPil(size=SHORT_EDGE)]


def segformer() -> list[Any]:
    config = t.SegformerConfig(**MIXED, **labels(THINGS))
    return [t.SegformerForSemanticSegmentation(config), t.SegformerImageProcessorPil(size=SQUARE)]


def maskformer() -> list[Any]:
    backbone = t.SwinConfig(**_SWIN, out_features=_STAGES)
    decoder = t.DetrConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        num_queries=6,
        init_std=0.3,
        use_timm_backbone=False,
        backbone_config=t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
    )
    config = t.MaskFormerConfig(
        backbone_config=backbone,
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        num_queries=6,
        **labels(THINGS),
    )
    model = t.MaskFormerForInstanceSegmentation(config)
    # Else all its queries ask, and answer, the same.
    for part in (model.model.transformer_module.queries_embedder, model.class_predictor):
        torch.nn.init.normal_(part.weight, std=1.0)
    for part in model.mask_embedder.modules():
        if isinstance(part, torch.nn.Linear):
            torch.nn.init.normal_(part.weight, std=0.5)
    _find_something(model.class_predictor)
    return [model, t.MaskFormerImageProcessorPil(size=SQUARE, size_divisor=0, ignore_index=255)]


def eomt() -> list[Any]:
    """Its processor cuts a long image into several square ones."""
    config = t.EomtConfig(
        **{**VIT, "image_size": 64},
        num_blocks=1,
        num_queries=6,
        num_upscale_blocks=1,
        **labels(THINGS),
    )
    model = t.EomtForUniversalSegmentation(config)
    # Else it sees the same everywhere.
    for name, part in model.named_parameters():
        if part.dim() > 1 and not name.startswith("upscale"):
            torch.nn.init.normal_(part, std=2.0 if "query" in name or "class" in name else 0.3)
    size = {"shortest_edge": 64, "longest_edge": None}
    return [model, t.EomtImageProcessorPil(size=size, do_split_image=True)]


def oneformer() -> list[Any]:
    """Is told in words which kind of segmentation it is to do."""
    tokenizer = tokens.clip(limit=24)
    config = t.OneFormerConfig(
        backbone_config=t.SwinConfig(**_SWIN, out_features=_STAGES),
        num_queries=6,
        init_std=0.3,
        task_seq_len=24,
        text_encoder_context_length=24,
        text_encoder_width=16,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=len(tokenizer),
        text_encoder_n_ctx=2,
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        dim_feedforward=64,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=4,
        **labels(THINGS),
    )
    model = t.OneFormerForUniversalSegmentation(config)
    processor = t.OneFormerImageProcessorPil(size=SQUARE, ignore_index=255, class_info_file="")
    return [model, tokenizer, processor]


def _superpoint() -> Any:
    return t.SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 16, 16],
        decoder_hidden_size=16,
        keypoint_decoder_dim=65,
        descriptor_decoder_dim=16,
        keypoint_threshold=0.7,
        nms_radius=2,
        border_removal_distance=2,
    )


def _glued(model: Any) -> Any:
    """Let a random net find another number of points in each image, and be sure of some."""
    for name, part in model.named_modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.normal_(part.weight, std=1.5 * (2 / part.weight[0].numel()) ** 0.5)
        if isinstance(part, torch.nn.Linear):
            sure = 4.0 if "final_proj" in name or "token" in name else 0.6
            torch.nn.init.normal_(part.weight, std=sure * part.in_features**-0.5)
    return model


def superglue() -> list[Any]:
    """Spreads its certainty over the points of both images: padding would take some of it."""
    config = t.SuperGlueConfig(
        keypoint_detector_config=_superpoint(),
        hidden_size=16,
        keypoint_encoder_sizes=[8, 8],
        gnn_layers_types=["self", "cross"],
        num_attention_heads=2,
        sinkhorn_iterations=5,
        matching_threshold=0.0,
    )
    size = {"height": 48, "width": 64}
    return [_glued(t.SuperGlueForKeypointMatching(config)), t.SuperGlueImageProcessorPil(size=size)]


def lightglue() -> list[Any]:
    """Stops after fewer layers for some pairs than for others."""
    config = t.LightGlueConfig(
        keypoint_detector_config=_superpoint(),
        descriptor_dim=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        filter_threshold=0.0,
        depth_confidence=0.84,
    )
    size = {"height": 48, "width": 64}
    return [_glued(t.LightGlueForKeypointMatching(config)), t.LightGlueImageProcessorPil(size=size)]


def efficientloftr() -> list[Any]:
    """Matches patches of images, without looking for points first."""
    config = t.EfficientLoFTRConfig(
        stage_num_blocks=[1, 1, 1, 1],
        out_features=[8, 8, 8, 16],
        stage_stride=[2, 1, 2, 2],
        hidden_size=16,
        q_aggregation_kernel_size=1,
        kv_aggregation_kernel_size=1,
        q_aggregation_stride=1,
        kv_aggregation_stride=1,
        num_attention_layers=1,
        num_attention_heads=8,
        coarse_matching_threshold=0.0,
        coarse_matching_border_removal=0,
        fine_kernel_size=8,
        fine_matching_slice_dim=4,
    )
    model = _glued(t.EfficientLoFTRForKeypointMatching(config))
    return [model, t.EfficientLoFTRImageProcessorPil(size=SQUARE)]


def owlvit() -> list[Any]:
    tokenizer = tokens.clip(limit=16)
    config = t.OwlViTConfig(
        text_config=reader(tokenizer, 16, initializer_factor=8.0),
        vision_config={**VIT, "image_size": 64, "patch_size": 16, "initializer_factor": 8.0},
        projection_dim=32,
    )
    processor = t.OwlViTImageProcessorPil(size=SQUARE, do_center_crop=False)
    model = t.OwlViTForObjectDetection(config)
    # Else it is as sure as can be of everything.
    for part in (model.class_head.logit_scale, model.class_head.logit_shift):
        torch.nn.init.normal_(part.weight, std=0.03)
        torch.nn.init.zeros_(part.bias)
    return [model, tokenizer, processor]


def grounding_dino() -> list[Any]:
    """Looks for a phrase at a time: it reads the image by the words, and the words by the image."""
    tokenizer = tokens.words(limit=32)
    backbone = t.SwinConfig(**_SWIN, out_features=["stage2", "stage3", "stage4"])
    text = t.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = t.GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        num_queries=6,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_text_len=32,
        num_feature_levels=3,
        encoder_n_points=2,
        decoder_n_points=2,
        init_std=0.3,
    )
    model = t.GroundingDinoForObjectDetection(config)
    return [model, tokenizer, t.GroundingDinoImageProcessorPil(size=SHORT_EDGE)]


_SAM_EYE = {
    "hidden_size": 32,
    "output_channels": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 64,
    "patch_size": 8,
    "mlp_dim": 64,
    "window_size": 4,
    "global_attn_indexes": [1],
    "num_pos_feats": 8,
    "initializer_range": 0.3,
}
_SAM_PROMPT = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
_SAM_PEN = {
    "hidden_size": 16,
    "mlp_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
}


def sam() -> list[Any]:
    config = t.SamConfig(
        vision_config=_SAM_EYE,
        prompt_encoder_config=_SAM_PROMPT,
        mask_decoder_config=_SAM_PEN,
        initializer_range=0.3,
    )
    return [t.SamModel(config), _sam_processor()]


def sam_hq() -> list[Any]:
    """Its outlines are drawn with what its eye saw on the way, too."""
    config = t.SamHQConfig(
        vision_config=_SAM_EYE,
        prompt_encoder_config=_SAM_PROMPT,
        mask_decoder_config={**_SAM_PEN, "vit_dim": 32},
        initializer_range=0.3,
    )
    return [t.SamHQModel(config), _sam_processor()]


def sam2() -> list[Any]:
    """Sees an image at three sizes at once; needs torchvision."""
    eye = t.Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[64, 64],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 24, 32],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 2, 2],
        window_positional_embedding_background_size=[4, 4],
        global_attention_blocks=[3],
        initializer_range=0.3,
    )
    vision = t.Sam2VisionConfig(
        backbone_config=eye,
        backbone_channel_list=[32, 24, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=16,
        initializer_range=0.3,
    )
    config = t.Sam2Config(
        vision_config=vision,
        prompt_encoder_config={**_SAM_PROMPT, "patch_size": 16},
        mask_decoder_config=_SAM_PEN,
        initializer_range=0.3,
    )
    mask_size = {"height": 16, "width": 16}
    return [t.Sam2Model(config), t.Sam2ImageProcessor(size=SQUARE, mask_size=mask_size)]


def _sam_processor() -> Any:
    return t.SamImageProcessorPil(
        size={"longest_edge": 64},
        pad_size=SQUARE,
        mask_size={"longest_edge": 32},
        mask_pad_size={"height": 32, "width": 32},
    )


BUILDERS = (
    detr,
    yolos,
    detr_panoptic,
    segformer,
    maskformer,
    eomt,
    oneformer,
    superglue,
    lightglue,
    efficientloftr,
    owlvit,
    grounding_dino,
    sam,
    sam_hq,
    sam2,
)
