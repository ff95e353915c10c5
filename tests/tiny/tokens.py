"""Tokenizers of the tiny checkpoints, made in this process and the same in every one."""

import math
from collections import Counter
from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SENTENCES = (
    "the quick brown fox jumps over the lazy dog near the river bank .",
    "i was charged twice for my order and i want a refund today .",
    "this movie was wonderful , the actors were great and the music was lovely .",
    "the food was terrible and the service was even worse than last time .",
    "alice lives in paris and works for acme corporation since march .",
    "bob moved to berlin with his brother charles in the summer .",
    "what is the capital of france ? paris is the capital of france .",
    "this example is about politics , sports , science , travel or cooking .",
)

CHAT_TEMPLATE = (
    "{% for each in tools or [] %}<|im_start|>tool\n{{ each | tojson }}<|im_end|>\n{% endfor %}"
    "{% for each in documents or [] %}{{ each['title'] }}: {{ each['text'] }}\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def words(limit: int = 64) -> Any:
    """A BERT tokenizer that knows the words of `SENTENCES` and single letters."""
    known = sorted({word for sentence in SENTENCES for word in sentence.split()})
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    tokens += [*("##" + letter for letter in letters), *known, *"0123456789!'"]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return transformers.BertTokenizer(vocab=vocabulary, model_max_length=limit)


def pieces() -> Any:
    """A T5 tokenizer that knows the words of `SENTENCES`, the commonest best, and letters."""
    count = Counter("▁" + word for sentence in SENTENCES for word in sentence.split())
    count.update(letter for sentence in SENTENCES for letter in sentence.replace(" ", "▁"))
    count.update("abcdefghijklmnopqrstuvwxyz:")
    ranked = sorted(count.items(), key=lambda each: (-each[1], each[0]))
    specials: list[tuple[str, float]] = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    scored = [(piece, round(math.log(n / count.total()), 4)) for piece, n in ranked]
    return transformers.T5Tokenizer(vocab=specials + scored, extra_ids=0, model_max_length=128)


def byte_vocabulary(specials: list[str]) -> dict[str, int]:
    """One token for each byte, after the special ones."""
    tokens = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    return {token: index for index, token in enumerate(tokens)}


def chat(*, pad: bool = True) -> Any:
    """A byte-level chat tokenizer, in the shape of Qwen's and SmolLM's."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    core = Tokenizer(models.BPE(vocab=byte_vocabulary(specials), merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(specials)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>" if pad else None,
        model_max_length=512,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def gpt2(limit: int = 128) -> Any:
    """A byte-level tokenizer without a padding token."""
    return transformers.GPT2Tokenizer(
        vocab=byte_vocabulary(["<|endoftext|>"]), merges=[], model_max_length=limit
    )


def roberta() -> Any:
    """A byte-level tokenizer that knows no limit of its own."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    return transformers.RobertaTokenizer(vocab=byte_vocabulary(specials), merges=[])


def clip(limit: int = 32) -> Any:
    """A byte-level tokenizer whose words end in a mark, as CLIP's."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Its text model reads what stands at the highest token.
    tokens = [*letters, *(f"{each}</w>" for each in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=limit)
