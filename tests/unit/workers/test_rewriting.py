"""Texts that are rewritten: languages and limits that a model does not have, lengths and shapes."""

from typing import Any

import pytest
import torch
import transformers

from stoker_tasks.errors import InvalidInput
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import jobs_of, run_batched
from tests.parity.cases.case import ENDLESS, LONG, SHORT
from tests.tiny.fixture import TinyModel
from tests.tiny.rewriting import SETTINGS


def loaded(task: str, folder: str) -> Adapter:
    return load(ModelKey(task, folder), find_device("cpu"))


def rewrite(model: Adapter, task: str, inputs: Any, **parameters: Any) -> Any:
    [output], _ = run_batched(model, jobs_of(task, [(inputs, parameters)]))
    return output.value


@pytest.mark.parametrize(
    ("languages", "reason"),
    [
        ({}, "requires a `src_lang` and a `tgt_lang`"),
        ({"src_lang": "eng_Latn"}, "requires a `src_lang` and a `tgt_lang`"),
        ({"src_lang": "eng_Latn", "tgt_lang": "en"}, "no language code of this model"),
        ({"src_lang": "en", "tgt_lang": "eng_Latn"}, "no language code of this model"),
    ],
)
def test_a_model_of_many_languages_is_told_two_that_it_knows(
    tiny: TinyModel, languages: dict[str, str], reason: str
) -> None:
    model = loaded("translation", tiny("nllb_translator"))

    with pytest.raises(InvalidInput, match=reason):
        rewrite(model, "translation", SHORT, max_new_tokens=5, **languages)
    # What a refused job did to the tokenizer is of no account to the next.
    known = {"src_lang": "eng_Latn", "tgt_lang": "deu_Latn", "max_new_tokens": 5}
    [found] = rewrite(model, "translation", SHORT, **known)
    assert found.keys() == {"translation_text"}


def test_a_pair_that_a_prompt_does_not_exist_for_is_refused(tiny: TinyModel) -> None:
    model = loaded("translation", tiny("t5_rewriter"))

    with pytest.raises(InvalidInput, match="translation_en_to_de, translation_en_to_fr, and not"):
        rewrite(model, "translation", SHORT, src_lang="de", tgt_lang="en")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"max_new_tokens": 129}, "set max_new_tokens to at most 128"),
        ({"num_return_sequences": 3, "num_beams": 2}, "num_return_sequences"),
        ({}, "up to 256 tokens are to be generated"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(
    tiny: TinyModel, parameters: dict[str, Any], reason: str
) -> None:
    model = loaded("text2text-generation", tiny("bart_rewriter"))

    with pytest.raises(InvalidInput, match=reason):
        rewrite(model, "text2text-generation", SHORT, **parameters)


def test_a_text_is_cut_only_if_that_is_asked_for(tiny: TinyModel) -> None:
    model = loaded("summarization", tiny("t5_rewriter"))

    with pytest.raises(InvalidInput, match="reads at most 128: shorten it, or set truncation"):
        rewrite(model, "summarization", ENDLESS, max_new_tokens=5)


def test_a_summary_has_the_length_that_is_asked_for(tiny: TinyModel) -> None:
    # 4.57 let its own max_new_tokens win over max_length.
    folder = tiny("t5_rewriter")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    alone = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    settings: dict[str, Any] = dict(SETTINGS["summarization"])
    prompt = tokenizer(settings.pop("prefix") + LONG, return_tensors="pt")
    with torch.no_grad():
        [wanted] = alone.generate(**prompt, **{**settings, "min_length": 5, "max_length": 9})

    [found] = rewrite(
        loaded("summarization", folder),
        "summarization",
        LONG,
        min_length=5,
        max_length=9,
        return_tensors=True,
    )

    assert found == {"summary_token_ids": wanted.tolist()}
    assert len(wanted) <= 9


def test_outputs_have_the_shape_of_the_pipelines(tiny: TinyModel) -> None:
    model = loaded("text2text-generation", tiny("t5_rewriter"))
    task, few = "text2text-generation", {"max_new_tokens": 3, "num_beams": 2}

    one = rewrite(model, task, SHORT, **few)
    several = rewrite(model, task, [SHORT, LONG], **few)
    two_each = rewrite(model, task, [SHORT, LONG], num_return_sequences=2, **few)

    assert [each.keys() for each in one] == [{"generated_text"}]
    assert several[0] == one[0]
    assert [len(each) for each in two_each] == [2, 2]
