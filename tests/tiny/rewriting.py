"""Tiny checkpoints that read a text and write another."""

import json
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers as t

from tests.tiny import tokens

SETTINGS = {
    "summarization": {"prefix": "summarize: ", "num_beams": 2, "min_length": 3},
    "translation_en_to_de": {"prefix": "in paris: ", "num_beams": 3},
    "translation_en_to_fr": {"prefix": "in berlin: ", "num_beams": 2, "no_repeat_ngram_size": 2},
}


def t5_rewriter() -> list[Any]:
    """With the settings of several tasks, as T5's checkpoints have."""
    tokenizer = tokens.pieces()
    config = t.T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        task_specific_params=SETTINGS,
    )
    model = t.T5ForConditionalGeneration(config)
    # T5's own way to begin is made for wide layers: narrow ones say the same of any text.
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.35)
    parts = [block.layer[1].EncDecAttention for block in model.decoder.block]
    return [_reading(model, [each for part in parts for each in (part.v, part.o)]), tokenizer]


def _reading(model: Any, weights: list[Any]) -> Any:
    """A random net repeats its last token; one that looks more closely says something else."""
    for layer in weights:
        torch.nn.init.normal_(layer.weight, std=1.0)
    return model


def _looking(model: Any) -> Any:
    parts = [layer.encoder_attn for layer in model.model.decoder.layers]
    return _reading(model, [each for part in parts for each in (part.v_proj, part.out_proj)])


def bart_rewriter() -> list[Any]:
    """Has to end each output with its end token, also one that is cut."""
    tokenizer = tokens.roberta()
    tokenizer.model_max_length = 128
    config = t.BartConfig(
        vocab_size=len(tokenizer),
        **_SIZES,
        encoder_layers=1,
        decoder_layers=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=tokenizer.eos_token_id,
    )
    return [_looking(t.BartForConditionalGeneration(config)), tokenizer]


def nllb_translator() -> list[Any]:
    """Speaks many languages, each with a token of its own."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = tokens.byte_vocabulary(specials)
    tokenizer = t.NllbTokenizer(vocab=vocabulary, merges=[], model_max_length=128)
    config = t.M2M100Config(
        vocab_size=len(tokenizer),
        **_SIZES,
        encoder_layers=2,
        decoder_layers=2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
    )
    return [_looking(t.M2M100ForConditionalGeneration(config)), tokenizer]


def marian_translator() -> list[Any]:
    """Knows one pair of languages."""
    trained = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(tokens.SENTENCES * 5),
        model_writer=trained,
        vocab_size=120,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    known = [pieces.id_to_piece(index) for index in range(pieces.get_piece_size())]
    names = dict.fromkeys(["</s>", "<unk>", *known, "<pad>"])
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("source.spm", "target.spm", "vocab.json")]
        files[0].write_bytes(trained.getvalue())
        files[1].write_bytes(trained.getvalue())
        files[2].write_text(json.dumps({name: index for index, name in enumerate(names)}))
        tokenizer = t.MarianTokenizer(
            *map(str, files), source_lang="en", target_lang="de", model_max_length=128
        )
    config = t.MarianConfig(
        vocab_size=len(names),
        **{**_SIZES, "tie_word_embeddings": True},
        encoder_layers=2,
        decoder_layers=2,
        pad_token_id=len(names) - 1,
        eos_token_id=0,
        decoder_start_token_id=len(names) - 1,
        forced_eos_token_id=None,
    )
    return [_looking(t.MarianMTModel(config)), tokenizer]


_SIZES = {
    "d_model": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "init_std": 0.3,
    "tie_word_embeddings": False,
}

BUILDERS = (t5_rewriter, bart_rewriter, nllb_translator, marian_translator)
