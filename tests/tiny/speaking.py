"""Tiny checkpoints that make sounds."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers as t

from tests.tiny import tokens

VOICE_SIZE = 8


class Inside:
    """A part of a checkpoint that is saved in a folder of its own."""

    def __init__(self, folder: str, part: Any) -> None:
        self._folder = folder
        self._part = part

    def save_pretrained(self, checkpoint: Path) -> None:
        self._part.save_pretrained(checkpoint / self._folder)


def vits() -> list[Any]:
    """Without its noise, so that it says the same in the same way each time."""
    known = ["_", *"abcdefghijklmnopqrstuvwxyz '-.,!?", "<pad>", "<unk>"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps({token: index for index, token in enumerate(known)}))
        tokenizer = t.VitsTokenizer(str(file), phonemize=False, language="eng", pad_token="_")
    config = t.VitsConfig(
        vocab_size=len(known),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=9,
        posterior_encoder_num_wavenet_layers=1,
        prior_encoder_num_flows=2,
        prior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=1,
        depth_separable_num_layers=1,
        duration_predictor_filter_channels=16,
        upsample_initial_channel=16,
        upsample_rates=[8, 8],
        upsample_kernel_sizes=[16, 16],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        wavenet_dilation_rate=1,
        noise_scale=0.0,
        noise_scale_duration=0.0,
        initializer_range=0.3,
        sampling_rate=16_000,
    )
    return [t.VitsModel(config), tokenizer]


def musicgen() -> list[Any]:
    tokenizer = t.T5Tokenizer(vocab=_letters(["<pad>", "</s>", "<unk>"]), extra_ids=0)
    text = t.T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=4,
        d_ff=32,
        num_layers=1,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=1,
        initializer_factor=3.0,
    )
    codec = t.EncodecConfig(
        audio_channels=1,
        num_filters=4,
        hidden_size=16,
        codebook_size=32,
        upsampling_ratios=[8, 4],
        num_lstm_layers=1,
        target_bandwidths=[4.0],
        sampling_rate=3200,
        codebook_dim=16,
        num_residual_layers=1,
    )
    decoder = t.MusicgenDecoderConfig(
        vocab_size=32,
        hidden_size=16,
        ffn_dim=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_codebooks=4,
        max_position_embeddings=128,
        pad_token_id=32,
        bos_token_id=32,
        eos_token_id=None,
        audio_channels=1,
        initializer_factor=0.5,
    )
    config = t.MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
    model = t.MusicgenForConditionalGeneration(config)
    for quantizer in model.audio_encoder.quantizer.layers:
        torch.nn.init.normal_(quantizer.codebook.embed)
    settings = model.generation_config
    settings.decoder_start_token_id = settings.pad_token_id = 32
    settings.max_length, settings.do_sample, settings.guidance_scale = 24, False, 1.0
    return [model, tokenizer, t.EncodecFeatureExtractor(sampling_rate=3200)]


def speecht5() -> list[Any]:
    """Makes spectrograms, with a vocoder beside it."""
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(tokens.SENTENCES),
        model_writer=buffer,
        vocab_size=81,
        hard_vocab_limit=False,
        model_type="char",
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spm_char.model"
        file.write_bytes(buffer.getvalue())
        tokenizer = t.SpeechT5Tokenizer(str(file), model_max_length=100)
    config = t.SpeechT5Config(
        vocab_size=len(tokenizer) + 8,
        hidden_size=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_mel_bins=16,
        speech_decoder_prenet_units=16,
        speech_decoder_postnet_layers=1,
        speech_decoder_postnet_units=16,
        speaker_embedding_dim=VOICE_SIZE,
        reduction_factor=2,
        max_text_positions=100,
        max_speech_positions=2000,
        initializer_range=0.3,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    vocoder = t.SpeechT5HifiGan(
        t.SpeechT5HifiGanConfig(
            model_in_dim=16,
            upsample_initial_channel=16,
            upsample_rates=[4, 4],
            upsample_kernel_sizes=[8, 8],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            initializer_range=0.3,
        )
    )
    return [t.SpeechT5ForTextToSpeech(config), tokenizer, Inside("vocoder", vocoder)]


def _letters(specials: list[str]) -> list[tuple[str, float]]:
    """Pieces of one letter each, for tokenizers that weigh theirs."""
    return [(token, 0.0) for token in specials] + [
        (letter, -3.0) for letter in "\u2581abcdefghijklmnopqrstuvwxyz.,"
    ]


BUILDERS = (vits, musicgen, speecht5)
