"""Tiny checkpoints that answer questions about texts, tables and pages."""

import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers as t

from tests.tiny import tokens

_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.3,
}


def bert_answerer() -> list[Any]:
    tokenizer = tokens.words()
    config = t.BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        **_SIZES,
    )
    return [t.BertForQuestionAnswering(config), tokenizer]


def tapas() -> list[Any]:
    known = [*tokens.words().get_vocab(), "[EMPTY]"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.txt"
        file.write_text("\n".join(known) + "\n")
        tokenizer = t.TapasTokenizer(str(file), model_max_length=64)
    config = t.TapasConfig(
        vocab_size=len(known),
        max_position_embeddings=64,
        num_aggregation_labels=4,
        aggregation_labels={0: "NONE", 1: "SUM", 2: "AVERAGE", 3: "COUNT"},
        **_SIZES,
    )
    return [t.TapasForQuestionAnswering(config), tokenizer]


def layoutlm() -> list[Any]:
    tokenizer = tokens.words()
    config = t.LayoutLMConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        max_2d_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id,
        **_SIZES,
    )
    return [t.LayoutLMForQuestionAnswering(config), tokenizer]


def layoutlmv3() -> list[Any]:
    tokenizer = t.LayoutLMv3Tokenizer(
        vocab=tokens.byte_vocabulary(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]),
        merges=[],
        model_max_length=96,
    )
    config = t.LayoutLMv3Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=98,
        max_2d_position_embeddings=1024,
        coordinate_size=6,
        shape_size=4,
        input_size=32,
        patch_size=8,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **_SIZES,
    )
    processor = t.LayoutLMv3ImageProcessorPil(size={"height": 32, "width": 32}, apply_ocr=False)
    return [t.LayoutLMv3ForQuestionAnswering(config), processor, tokenizer]


def donut() -> list[Any]:
    """Reads the picture of a page, and writes its answer."""
    specials = ["<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>"]
    tokenizer = tokens.roberta()
    tokenizer.model_max_length = 96
    tokenizer.add_tokens([t.AddedToken(each, special=True) for each in specials])
    encoder = t.DonutSwinConfig(
        image_size=[64, 64],
        patch_size=4,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
    )
    decoder = t.MBartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        decoder_layers=2,
        encoder_layers=0,
        decoder_attention_heads=4,
        decoder_ffn_dim=32,
        max_position_embeddings=128,
        is_decoder=True,
        add_cross_attention=True,
        init_std=0.3,
        scale_embedding=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        tie_word_embeddings=False,
    )
    config = t.VisionEncoderDecoderConfig(encoder=encoder.to_dict(), decoder=decoder.to_dict())
    config.decoder_start_token_id = tokenizer.convert_tokens_to_ids("<s_docvqa>")
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    model = t.VisionEncoderDecoderModel(config)
    for layer in model.decoder.model.decoder.layers:
        # A random net repeats its last token; one that looks more closely says something else.
        torch.nn.init.normal_(layer.encoder_attn.v_proj.weight, std=2.0)
        torch.nn.init.normal_(layer.encoder_attn.out_proj.weight, std=2.0)
    settings = model.generation_config
    settings.decoder_start_token_id = config.decoder_start_token_id
    settings.pad_token_id = tokenizer.pad_token_id
    settings.eos_token_id = tokenizer.eos_token_id
    settings.max_length = 90
    # Nothing else would make it close its answer.
    settings.forced_eos_token_id = tokenizer.convert_tokens_to_ids("</s_answer>")
    size = {"height": 64, "width": 64}
    processor = t.DonutImageProcessorPil(size=size, do_align_long_axis=False)
    return [model, t.DonutProcessor(image_processor=processor, tokenizer=tokenizer)]


BUILDERS = (bert_answerer, tapas, layoutlm, layoutlmv3, donut)
