"""Tiny checkpoints that sort sounds."""

from typing import Any

import transformers as t

from tests.tiny import tokens
from tests.tiny.audio import hear_more, wav2vec2_config
from tests.tiny.text import labels

COMMANDS = {0: "yes", 1: "no", 2: "up", 3: "down"}


def wav2vec2_sorter_group() -> list[Any]:
    """A group norm over the whole sound: padding would change its scores."""
    return _wav2vec2("group")


def wav2vec2_sorter_layer() -> list[Any]:
    return _wav2vec2("layer")


def _wav2vec2(norm: str) -> list[Any]:
    config = wav2vec2_config(norm, classifier_proj_size=16, **labels(COMMANDS))
    model = t.Wav2Vec2ForSequenceClassification(config)
    hear_more(model)
    return [model, t.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer")]


def spectrogram_sorter() -> list[Any]:
    """Hears sounds of one length: shorter ones are padded by its processor."""
    config = t.ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        num_mel_bins=32,
        max_length=64,
        patch_size=8,
        frequency_stride=8,
        time_stride=8,
        initializer_range=0.3,
        **labels(COMMANDS),
    )
    extractor = t.ASTFeatureExtractor(num_mel_bins=32, max_length=64)
    return [t.ASTForAudioClassification(config), extractor]


def clap() -> list[Any]:
    """Hears a second; of a longer sound, a random one."""
    tokenizer = tokens.roberta()
    tokenizer.model_max_length = 128
    text = t.ClapTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=130,
        projection_dim=16,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
    )
    audio = t.ClapAudioConfig(
        num_mel_bins=16,
        spec_size=64,
        hidden_size=64,
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 4, 8],
        window_size=2,
        patch_embeds_hidden_size=8,
        patch_size=2,
        patch_stride=[2, 2],
        projection_dim=16,
        enable_fusion=False,
        num_classes=4,
        aff_block_r=2,
        initializer_range=0.3,
    )
    config = t.ClapConfig(
        text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=16
    )
    extractor = t.ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=16_000,
        hop_length=160,
        max_length_s=1,
        fft_window_size=400,
        frequency_min=50,
        frequency_max=7000,
        truncation="rand_trunc",
        padding="repeatpad",
    )
    return [t.ClapModel(config), tokenizer, extractor]


BUILDERS = (wav2vec2_sorter_group, wav2vec2_sorter_layer, spectrogram_sorter, clap)
