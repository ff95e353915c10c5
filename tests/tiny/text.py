"""Tiny checkpoints that read text."""

from typing import Any

import transformers as t

from tests.tiny import tokens

SENTIMENT = {0: "negative", 1: "neutral", 2: "positive"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
ENTAILMENT = {0: "contradiction", 1: "neutral", 2: "entailment"}


def labels(names: dict[int, str]) -> dict[str, Any]:
    return {"id2label": names, "label2id": {name: index for index, name in names.items()}}


def _bert(tokenizer: Any, **settings: Any) -> Any:
    return t.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        **settings,
    )


def llama(tokenizer: Any, **settings: Any) -> Any:
    return t.LlamaConfig(
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
        **settings,
    )


def bert_classifier() -> list[Any]:
    tokenizer = tokens.words()
    return [t.BertForSequenceClassification(_bert(tokenizer, **labels(SENTIMENT))), tokenizer]


def llama_classifier() -> list[Any]:
    """A decoder that classifies, without a padding token."""
    tokenizer = tokens.chat(pad=False)
    return [t.LlamaForSequenceClassification(llama(tokenizer, **labels(SENTIMENT))), tokenizer]


def bert_tagger() -> list[Any]:
    tokenizer = tokens.words()
    return [t.BertForTokenClassification(_bert(tokenizer, **labels(TAGS))), tokenizer]


def bert_filler() -> list[Any]:
    tokenizer = tokens.words()
    return [t.BertForMaskedLM(_bert(tokenizer)), tokenizer]


def roberta_filler() -> list[Any]:
    """Its positions begin at 2, so that 40 of 42 can be used; its tokenizer does not know that."""
    tokenizer = tokens.roberta()
    config = t.RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=42,
        type_vocab_size=1,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return [t.RobertaForMaskedLM(config), tokenizer]


def bert_encoder() -> list[Any]:
    tokenizer = tokens.words()
    return [t.BertModel(_bert(tokenizer)), tokenizer]


def bert_long_encoder() -> list[Any]:
    """Reads texts whose token vectors together are too many numbers for a message."""
    tokenizer = tokens.words(limit=512)
    config = _bert(tokenizer)
    config.max_position_embeddings = 512
    return [t.BertModel(config), tokenizer]


def bert_nli() -> list[Any]:
    tokenizer = tokens.words()
    return [t.BertForSequenceClassification(_bert(tokenizer, **labels(ENTAILMENT))), tokenizer]


def bart_nli() -> list[Any]:
    """An encoder-decoder that classifies by its last end token."""
    tokenizer = tokens.roberta()
    tokenizer.model_max_length = 128
    config = t.BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        init_std=0.3,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
        **labels(ENTAILMENT),
    )
    return [t.BartForSequenceClassification(config), tokenizer]


def llama_chat() -> list[Any]:
    tokenizer = tokens.chat()
    return [t.LlamaForCausalLM(llama(tokenizer)), tokenizer]


def gpt2() -> list[Any]:
    """Learned positions and no padding token."""
    tokenizer = tokens.gpt2()
    config = t.GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=128,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return [t.GPT2LMHeadModel(config), tokenizer]


BUILDERS = (
    bert_classifier,
    llama_classifier,
    bert_tagger,
    bert_filler,
    roberta_filler,
    bert_encoder,
    bert_long_encoder,
    bert_nli,
    bart_nli,
    llama_chat,
    gpt2,
)
