from typing import Any

import pytest
import transformers

from stoker_tasks.errors import InvalidInput
from stoker_workers.models.adapters.reading import Reading, reading_of
from tests.tiny.fixture import TinyModel


def read(folder: str, auto: Any = transformers.AutoModel) -> tuple[Reading, int]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = auto.from_pretrained(folder)
    return reading_of(model, tokenizer), tokenizer.model_max_length


def test_bert(tiny: TinyModel) -> None:
    reading, told = read(tiny("bert_encoder"))
    assert (reading.limit, reading.positions, told) == (64, 64, 64)
    assert (reading.side, reading.paddable, reading.fill["input_ids"]) == ("right", True, 0)


def test_roberta_wastes_two_positions_and_its_tokenizer_is_told(tiny: TinyModel) -> None:
    reading, told = read(tiny("roberta_filler"))
    assert (reading.limit, reading.positions, told) == (40, 40, 40)


def test_bart_has_two_more_positions_than_it_uses(tiny: TinyModel) -> None:
    assert read(tiny("bart_nli"))[0].positions == 128


def test_gpt2_has_learned_positions(tiny: TinyModel) -> None:
    assert read(tiny("gpt2"))[0].positions == 128


def test_llama_computes_its_positions(tiny: TinyModel) -> None:
    reading, told = read(tiny("llama_chat"))
    assert (reading.limit, reading.positions, told) == (512, None, 512)


def test_a_model_without_a_mask_is_never_padded() -> None:
    config = transformers.FNetConfig(hidden_size=8, num_hidden_layers=1, intermediate_size=8)
    tokenizer = transformers.BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1})
    assert not reading_of(transformers.FNetModel(config), tokenizer).paddable


def test_a_model_whose_attention_counts_positions_is_never_padded() -> None:
    config = transformers.BigBirdConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    tokenizer = transformers.BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1})
    assert not reading_of(transformers.BigBirdModel(config), tokenizer).paddable


def test_both_lengths_are_named() -> None:
    reading = Reading(limit=8, positions=8, paddable=True, side="right", fill={})
    reading.check_length(8, "or else")
    with pytest.raises(InvalidInput, match=r"has 9 tokens .* at most 8: shorten it, or else"):
        reading.check_length(9, "or else")
    unlimited = Reading(limit=None, positions=None, paddable=True, side="right", fill={})
    unlimited.check_length(10**6, "")
