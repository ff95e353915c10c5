"""Tiny checkpoints that talk about images and sounds."""

from typing import Any

import torch
import transformers as t
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.tiny import tokens
from tests.tiny.image_words import blip_config, seeing

TEMPLATE = (
    "{% for each in tools or [] %}<|im_start|>tool\n{{ each | tojson }}<|im_end|>\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% elif c['type'] == 'audio' %}"
    "<|audio_bos|><|AUDIO|><|audio_eos|>{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _chat(extra: list[str], **settings: Any) -> Any:
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *extra]
    core = Tokenizer(models.BPE(vocab=tokens.byte_vocabulary(specials), merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(specials)
    return t.PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=512,
        **settings,
    )


def _text(kind: Any, tokenizer: Any) -> Any:
    return kind(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )


def _ending(model: Any, tokenizer: Any) -> Any:
    settings = model.generation_config
    settings.eos_token_id, settings.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    return model


def llava() -> list[Any]:
    """Looks at images, each as 16 tokens."""
    tokenizer = _chat(["<image>"], extra_special_tokens={"image_token": "<image>"})
    vision = t.CLIPVisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        projection_dim=16,
        initializer_factor=8.0,
    )
    config = t.LlavaConfig(
        vision_config=vision.to_dict(),
        text_config=_text(t.LlamaConfig, tokenizer).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    config.pad_token_id = tokenizer.pad_token_id
    model = t.LlavaForConditionalGeneration(config)
    # What it sees has to weigh as much as what it reads.
    for weight in model.model.multi_modal_projector.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    processor = t.LlavaProcessor(
        image_processor=t.CLIPImageProcessorPil(
            size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    return [_ending(model, tokenizer), processor]


def qwen2_audio() -> list[Any]:
    """Hears 2 seconds at once."""
    tokenizer = _chat(["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"])
    audio = {
        "num_mel_bins": 16,
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "max_source_positions": 100,
        "init_std": 0.3,
    }
    config = t.Qwen2AudioConfig(
        audio_config=audio,
        text_config=_text(t.Qwen2Config, tokenizer).to_dict(),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    model = t.Qwen2AudioForConditionalGeneration(config)
    processor = t.Qwen2AudioProcessor(
        feature_extractor=t.WhisperFeatureExtractor(feature_size=16, chunk_length=2),
        tokenizer=tokenizer,
        chat_template=TEMPLATE,
    )
    return [_ending(model, tokenizer), processor]


def janus() -> list[Any]:
    """Looks at images as 16 tokens, and makes some of 8 by 8 points; needs torchvision."""
    names = {"image_token": "<image>", "boi_token": "<image_begins>", "eoi_token": "<image_ends>"}
    tokenizer = _chat([*names.values()], extra_special_tokens=names, bos_token="<|endoftext|>")
    eye = t.JanusVisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        mlp_ratio=2.0,
        image_size=32,
        patch_size=8,
        projection_dim=32,
        num_image_tokens=16,
        initializer_range=0.3,
    )
    brush = t.JanusVQVAEConfig(
        num_embeddings=32,
        latent_channels=32,
        base_channels=32,
        channel_multiplier=[1, 1],
        num_res_blocks=1,
        projection_dim=32,
        image_token_embed_dim=32,
    )
    config = t.JanusConfig(
        text_config=_text(t.LlamaConfig, tokenizer).to_dict(),
        vision_config=eye.to_dict(),
        vq_config=brush.to_dict(),
        image_token_id=tokenizer.image_token_id,
        tie_word_embeddings=False,
    )
    model = t.JanusForConditionalGeneration(config)
    model.generation_config = t.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        generation_kwargs={"boi_token_id": tokenizer.boi_token_id},
    )
    processor = t.JanusProcessor(
        image_processor=t.JanusImageProcessorPil(size={"height": 32, "width": 32}, min_size=8),
        tokenizer=tokenizer,
        chat_template=TEMPLATE,
        num_image_tokens=16,
    )
    return [_ending(model, tokenizer), processor]


def blip_talker() -> list[Any]:
    """Writes in a way of its own, and knows no chats."""
    tokenizer = tokens.words()
    model = seeing(t.BlipForConditionalGeneration(blip_config(tokenizer)))
    look = t.BlipImageProcessorPil(size={"height": 32, "width": 32})
    return [model, t.BlipProcessor(image_processor=look, tokenizer=tokenizer)]


def qwen2_vl() -> list[Any]:
    """Looks at images and films, each as many tokens as it is large; needs torchvision."""
    names = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    specials = ["<|vision_start|>", "<|vision_end|>", *names.values()]
    tokenizer = _chat(specials, extra_special_tokens=names)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in specials}
    text = _text(t.Qwen2Config, tokenizer).to_dict()
    text.pop("model_type")
    sections = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
    config = t.Qwen2VLConfig(
        text_config={**text, "rope_parameters": sections},
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    model = t.Qwen2VLForConditionalGeneration(config)
    for weight in model.model.visual.merger.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    size = {"patch_size": 8, "temporal_patch_size": 2, "merge_size": 2}
    size |= {"min_pixels": 16 * 16, "max_pixels": 64 * 64}
    template = TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    seen = "{% elif c['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% elif"
    processor = t.Qwen2VLProcessor(
        image_processor=t.Qwen2VLImageProcessorPil(**size),
        tokenizer=tokenizer,
        video_processor=t.Qwen2VLVideoProcessor(**size),
        chat_template=template.replace("{% elif", seen, 1),
    )
    return [_ending(model, tokenizer), processor]


BUILDERS = (llava, qwen2_audio, blip_talker, qwen2_vl, janus)
