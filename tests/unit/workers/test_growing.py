"""Texts that are read while they are generated: they grow, and end as what the job gives."""

import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from stoker_tasks.job import Job
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import Follow, ModelKey, Text
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.adapters.growing import GrowingText, cleans, decoder
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.cases.case import LONG, SHORT
from tests.tiny import tokens
from tests.tiny.fixture import TinyModel

CHAT = [{"role": "user", "content": "hi there"}]
MORE = {"do_sample": False, "return_full_text": False}


def read_along(model: Adapter, jobs: Sequence[Job]) -> tuple[list[list[str]], list[str]]:
    """Run jobs in one pass and read those that are followed after each step.

    Returns:
        For each job that is followed all that was read of it, the end last; and what it gave.
    """
    prepared = [model.preprocess(job, {}) for job in jobs]
    chunks = [each.chunks[0] for each in prepared]
    assert len({chunk.key for chunk in chunks}) == 1
    reads: dict[int, Text] = {}
    seen: dict[int, list[str]] = {}

    def follow(row: int) -> Follow:
        def take(read: Text) -> None:
            reads[row] = read

        return take

    def ended() -> list[bool]:
        for row, read in reads.items():
            seen.setdefault(row, []).append(read())
        return [False] * len(chunks)

    who = [follow(row) if job.followed else None for row, job in enumerate(jobs)]
    outputs = model.forward(chunks, ended, who)
    values = [
        model.postprocess(job, each, [output]).value
        for job, each, output in zip(jobs, prepared, outputs, strict=True)
    ]
    told = {row: [*seen.get(row, []), read()] for row, read in reads.items()}
    return [told[row] for row in sorted(told)], [_text(values[row]) for row in sorted(told)]


def _text(value: Any) -> str:
    [text] = (each for name, each in value[0].items() if name.endswith("_text"))
    return text if isinstance(text, str) else text[-1]["content"]


def check_growth(told: Sequence[str], end: str) -> None:
    assert told[-1] == end
    assert all(later.startswith(sooner) for sooner, later in pairwise(told))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"skip_special_tokens": False},
        {"clean_up_tokenization_spaces": True},
        {"repetition_penalty": 1.3},
        {"stop_sequence": ["a", "q"]},
    ],
    ids=str,
)
def test_texts_grow_in_a_batch_and_end_as_the_output(tiny: TinyModel, more: dict[str, Any]) -> None:
    model = load(ModelKey("text-generation", tiny("llama_chat")), find_device("cpu"))
    parameters = {"max_new_tokens": 40, **MORE, **more}
    jobs = [
        make_job("text-generation", {"inputs": inputs, "parameters": wanted, "stream": stream})
        for inputs, wanted, stream in (
            ("a cat", parameters, True),
            ("a dog and a much longer story", parameters, False),
            (CHAT, {**parameters, "max_new_tokens": 33}, True),
            ("three", {**parameters, "max_new_tokens": 55}, True),
        )
    ]

    told, ends = read_along(model, jobs)

    assert len(told) == 3
    for text, end in zip(told, ends, strict=True):
        check_growth(text, end)
    assert any(0 < len(text) < len(ends[2]) for text in told[2][:-1])


def test_who_follows_changes_no_output(tiny: TinyModel) -> None:
    model = load(ModelKey("text-generation", tiny("llama_chat")), find_device("cpu"))
    fields = {"inputs": "a cat", "parameters": {"max_new_tokens": 12, **MORE}}
    jobs = [make_job("text-generation", {**fields, "stream": stream}) for stream in (False, True)]
    chunks = [model.preprocess(job, {}).chunks[0] for job in jobs]

    (alone,) = model.forward(chunks[:1])
    read: list[Text] = []
    both = model.forward(chunks, None, [None, read.append])

    assert len(read) == 1
    for each in both:
        assert each["generated_sequence"].tolist() == alone["generated_sequence"].tolist()


@pytest.mark.parametrize("beams", [1, None])
@pytest.mark.parametrize(
    ("task", "folder"),
    [
        ("summarization", "t5_rewriter"),
        ("summarization", "bart_rewriter"),
        ("text2text-generation", "t5_rewriter"),
    ],
)
def test_rewritten_texts_grow(tiny: TinyModel, task: str, folder: str, beams: int | None) -> None:
    model = load(ModelKey(task, tiny(folder)), find_device("cpu"))
    parameters = {"max_new_tokens": 12, "min_new_tokens": 6, "do_sample": False}
    if beams == 1:
        # Else as many as the checkpoint or the pipeline has.
        parameters["num_beams"] = 1
    jobs = [
        make_job(task, {"inputs": inputs, "parameters": parameters, "stream": stream})
        for inputs, stream in ((SHORT, True), (LONG, False), (LONG, True))
    ]

    told, ends = read_along(model, jobs)

    assert len(told) == 2
    for text, end in zip(told, ends, strict=True):
        check_growth(text, end)
        # Beams are one text at the end only.
        assert any(text[:-1]) == (beams == 1)


@pytest.mark.parametrize("cleans", [False, True])
def test_answers_about_images_grow_without_their_prompt(tiny: TinyModel, cleans: bool) -> None:
    task = "image-text-to-text"
    model = load(ModelKey(task, tiny("llava")), find_device("cpu"))
    parameters: dict[str, Any] = {"max_new_tokens": 20, "return_full_text": False}
    parameters["clean_up_tokenization_spaces"] = cleans
    settings = {"do_sample": False, "min_new_tokens": 20}
    jobs = [
        make_job(
            task,
            {
                "inputs": [{"role": "user", "content": question}],
                "parameters": {**parameters, "generate_kwargs": settings},
                "stream": True,
            },
        )
        for question in ("What is this?", "And what might that be, if it is not this?")
    ]

    told, ends = read_along(model, jobs)

    for text, end in zip(told, ends, strict=True):
        check_growth(text, end)
    assert cleans or any(any(text[:-1]) for text in told)


def grown(tokenizer: Any, text: str, **wanted: Any) -> list[str]:
    """Add a text's tokens one by one, and read after each."""
    growing = GrowingText(
        decoder(tokenizer, wanted), threading.Lock(), cleans=cleans(tokenizer, wanted)
    )
    told = []
    for token in tokenizer.encode(text, add_special_tokens=False):
        growing.add(token)
        told.append(growing.read())
    return told


def test_characters_come_whole() -> None:
    told = grown(tokens.chat(), "aé 字🙂\n")

    assert told[-1] == "aé 字🙂\n"
    assert [*dict.fromkeys(told)] == ["a", "aé", "aé ", "aé 字", "aé 字🙂", "aé 字🙂\n"]


def test_who_cleans_nothing_waits_for_no_space() -> None:
    tokenizer = tokens.chat()
    text = "字字字字"
    asked = {"clean_up_tokenization_spaces": True}

    assert [*dict.fromkeys(grown(tokenizer, text, **asked))] == ["", "字", "字字", "字字字", text]
    spaced = tokenizer.encode("a .")
    assert decoder(tokenizer, asked)(spaced) == "a ."
    tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    assert decoder(tokenizer, asked)(spaced) == "a."
    assert cleans(tokenizer, asked)


def test_words_come_whole_where_a_tokenizer_takes_spaces_away() -> None:
    tokenizer = tokens.words()
    text = "the fox jumps . it is lovely , was it not ?"
    told = grown(tokenizer, text)
    whole = decoder(tokenizer, {})(tokenizer.encode(text, add_special_tokens=False))

    assert all(whole.startswith(each) for each in told)
    assert len(whole) - len(told[-1]) < 8


def test_spaces_between_pieces_are_kept() -> None:
    told = grown(tokens.pieces(), "the quick brown fox jumps over the lazy dog")

    assert told[-1] == "the quick brown fox jumps over the lazy dog"
    assert "the quick brown" in told
