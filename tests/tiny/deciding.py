"""Tiny checkpoints that decide."""

from typing import Any

import transformers as t

from tests.tiny import tokens
from tests.tiny.text import llama


def llama_decider() -> list[Any]:
    """A chat model whose tokenizer has single tokens for the labels of options."""
    tokenizer = _tokenizer()
    return [t.LlamaForCausalLM(llama(tokenizer)), tokenizer]


def jev_decider() -> list[Any]:
    """Scores the options itself, by a head of its own."""
    tokenizer = _tokenizer()
    config = t.JevConfig(
        text_config=llama(tokenizer).to_dict(),
        hidden_size=32,
        num_verbalizers=40,
        offsets={"noul": 0, "score": 2, "choice": 12},
        initializer_range=0.3,
    )
    return [t.JevForDecision(config), tokenizer]


def _tokenizer() -> Any:
    tokenizer = tokens.chat()
    tokenizer.add_tokens(["Yes", "No"])
    return tokenizer


BUILDERS = (llama_decider, jev_decider)
