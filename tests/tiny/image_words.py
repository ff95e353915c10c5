"""Tiny checkpoints that look at images and use words."""

from typing import Any

import torch
import transformers as t

from tests.tiny import tokens
from tests.tiny.text import labels

ANSWERS = {0: "yes", 1: "no", 2: "red", 3: "blue", 4: "two", 5: "three"}


def vilt() -> list[Any]:
    """Chooses among the answers it knows; reads 40 tokens; keeps the shape of images."""
    tokenizer = tokens.words(limit=40)
    config = t.ViltConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        image_size=64,
        patch_size=16,
        initializer_range=0.3,
        **labels(ANSWERS),
    )
    model = t.ViltForQuestionAnswering(config)
    processor = t.ViltImageProcessorPil(size={"shortest_edge": 48}, size_divisor=16)
    return [model, tokenizer, processor]


def blip_config(tokenizer: Any) -> Any:
    text = t.BlipTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        encoder_hidden_size=32,
        intermediate_size=64,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.3,
        bos_token_id=tokenizer.cls_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.sep_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )
    vision = t.BlipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        initializer_range=0.3,
    )
    return t.BlipConfig(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=16,
        image_text_hidden_size=16,
    )


def seeing(model: Any) -> Any:
    """A random net writes the same of any image; one that looks more closely does not."""
    for name, weight in model.named_parameters():
        if "crossattention" in name and name.endswith("weight") and weight.dim() > 1:
            torch.nn.init.normal_(weight, std=1.0)
        if "patch_embedding.weight" in name:
            torch.nn.init.normal_(weight, std=0.5)
    return model


def blip_answerer() -> list[Any]:
    """Writes an answer of up to 8 tokens: so its own settings say."""
    tokenizer = tokens.words()
    model = seeing(t.BlipForQuestionAnswering(blip_config(tokenizer)))
    model.generation_config.max_new_tokens = 8
    return [model, tokenizer, t.BlipImageProcessorPil(size={"height": 32, "width": 32})]


def blip_captioner() -> list[Any]:
    """Takes a prompt."""
    tokenizer = tokens.words()
    model = seeing(t.BlipForConditionalGeneration(blip_config(tokenizer)))
    return [model, tokenizer, t.BlipImageProcessorPil(size={"height": 32, "width": 32})]


def vit_gpt2() -> list[Any]:
    """Takes no prompt."""
    tokenizer = tokens.gpt2(limit=64)
    tokenizer.pad_token = "<|endoftext|>"
    encoder = t.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        initializer_range=0.3,
    )
    decoder = t.GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        add_cross_attention=True,
        is_decoder=True,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    config = t.VisionEncoderDecoderConfig(encoder=encoder.to_dict(), decoder=decoder.to_dict())
    config.decoder_start_token_id = config.pad_token_id = config.eos_token_id = 0
    model = seeing(t.VisionEncoderDecoderModel(config))
    settings = model.generation_config
    settings.decoder_start_token_id = settings.pad_token_id = 0
    settings.eos_token_id = settings.bos_token_id = 0
    return [model, tokenizer, t.ViTImageProcessorPil(size={"height": 32, "width": 32})]


BUILDERS = (vilt, blip_answerer, blip_captioner, vit_gpt2)
