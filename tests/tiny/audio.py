"""Tiny checkpoints that listen."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers as t

from tests.tiny import tokens


def wav2vec2_group() -> list[Any]:
    """A group norm over the whole sound: padding would change its letters."""
    return _wav2vec2("group")


def wav2vec2_layer() -> list[Any]:
    return _wav2vec2("layer")


def wav2vec2_config(norm: str, **own: Any) -> Any:
    return t.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(16, 16, 16),
        conv_kernel=(10, 3, 3),
        conv_stride=(5, 8, 8),
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        mask_time_prob=0.0,
        initializer_range=0.3,
        **own,
    )


def hear_more(model: Any) -> None:
    """A random net hears one thing in any sound; wider weights make it hear several."""
    for weight in model.wav2vec2.feature_extractor.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.6)


def _wav2vec2(norm: str) -> list[Any]:
    letters = "abcdefghijklmnopqrstuvwxyz'"
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}
    vocabulary |= {letter: index + 5 for index, letter in enumerate(letters)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps(vocabulary))
        tokenizer = t.Wav2Vec2CTCTokenizer(str(file))
    model = t.Wav2Vec2ForCTC(
        wav2vec2_config(
            norm, vocab_size=len(vocabulary), pad_token_id=0, bos_token_id=1, eos_token_id=2
        )
    )
    hear_more(model)
    torch.nn.init.normal_(model.lm_head.weight, std=1.0)
    extractor = t.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer")
    return [model, extractor, tokenizer]


def whisper() -> list[Any]:
    """Hears 2 seconds at once."""
    end, languages = "<|endoftext|>", ["<|en|>", "<|de|>", "<|fr|>"]
    specials = ["<|startoftranscript|>", *languages, "<|translate|>", "<|transcribe|>"]
    specials += ["<|startoflm|>", "<|startofprev|>", "<|nocaptions|>", "<|notimestamps|>"]
    # Whatever has an ID above that of <|notimestamps|> is read as a time.
    times = [f"<|{step * 0.02:.2f}|>" for step in range(101)]
    vocabulary = tokens.byte_vocabulary([end])
    vocabulary |= {token: len(vocabulary) + n for n, token in enumerate(specials + times)}
    tokenizer = t.WhisperTokenizer(
        vocab=vocabulary, merges=[], language="english", task="transcribe", pad_token=end
    )
    tokenizer.add_special_tokens({"extra_special_tokens": specials})
    tokenizer.add_tokens([t.AddedToken(each, special=False, normalized=False) for each in times])
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in [end, *specials]}
    config = t.WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=16,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=100,
        max_target_positions=64,
        init_std=0.3,
        pad_token_id=ids[end],
        bos_token_id=ids[end],
        eos_token_id=ids[end],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    model = t.WhisperForConditionalGeneration(config)
    # A random net repeats its last token; one that listens more closely says something else.
    for layer in model.model.decoder.layers:
        for part in (layer.encoder_attn.v_proj, layer.encoder_attn.out_proj):
            torch.nn.init.normal_(part.weight, std=1.0)
        torch.nn.init.normal_(layer.fc2.weight, std=1.0)
    settings = model.generation_config
    # Else loading would drop the fields that only Whisper has.
    settings._from_model_config = False
    settings.is_multilingual = True
    settings.no_timestamps_token_id = ids["<|notimestamps|>"]
    settings.lang_to_id = {each: ids[each] for each in languages}
    settings.task_to_id = {each: ids[f"<|{each}|>"] for each in ("transcribe", "translate")}
    settings.max_initial_timestamp_index = 50
    settings.prev_sot_token_id = ids["<|startofprev|>"]
    settings.alignment_heads = [[0, 0], [1, 1]]
    settings.return_timestamps = False
    settings.max_length = 32
    settings.decoder_start_token_id = config.decoder_start_token_id
    settings.pad_token_id = settings.eos_token_id = ids[end]
    extractor = t.WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    return [model, extractor, tokenizer]


BUILDERS = (wav2vec2_group, wav2vec2_layer, whisper)
