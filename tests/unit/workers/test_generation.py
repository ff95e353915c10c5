from typing import Any

import pytest
import torch

from stoker_tasks.errors import InvalidInput
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.adapters.ends import Ends
from stoker_workers.models.adapters.generation import TextGenerator, _RepetitionPenalty
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import run_batched
from tests.tiny.fixture import TinyModel

END = 9


@pytest.fixture
def generator(tiny: TinyModel) -> TextGenerator:
    model = load(ModelKey("text-generation", tiny("llama_chat")), find_device("cpu"))
    assert isinstance(model, TextGenerator)
    return model


def test_each_sequence_ends_by_itself() -> None:
    ends = Ends(torch.tensor([3, 1, 5]), 2, torch.tensor([END]), None)
    steps = [[[0, 0, 1], [0, 0, 1], [0, 0, 1]], [[0, 0, 1, 1], [0, 0, 1, 7], [0, 0, 1, END]]]
    assert ends(torch.tensor(steps[0]), None).tolist() == [False, True, False]
    assert ends(torch.tensor(steps[1]), None).tolist() == [False, True, True]
    third = [[*row, 0] for row in steps[1]]
    assert ends(torch.tensor(third), None).tolist() == [True, True, False]
    assert ends.lengths.tolist() == [3, 1, 2]


def test_several_sequences_of_one_prompt_have_its_limit() -> None:
    ends = Ends(torch.tensor([1, 2]), 1, torch.tensor([END]), None)
    assert ends(torch.tensor([[0, 1]] * 4), None).tolist() == [True, True, False, False]


def test_the_repetition_penalty_does_not_see_padding() -> None:
    mask = torch.tensor([[0, 1, 1]])
    penalty = _RepetitionPenalty(2.0, mask)
    scores = penalty(torch.tensor([[0, 3, 4, 5]]), torch.ones(1, 7))
    assert scores[0].tolist() == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 1.0]


def test_an_error_does_not_quote_tools(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = "{{ raise_exception('cannot use ' ~ tools[0]['name']) }}"
    monkeypatch.setattr(generator._tokenizer, "chat_template", refusal)
    fields = {
        "inputs": [{"role": "user", "content": "hi"}],
        "parameters": {"tools": [{"name": "launch_codes"}]},
    }
    with pytest.raises(InvalidInput, match="while its inputs were read") as refused:
        generator.preprocess(make_job("text-generation", fields), {})
    assert "launch_codes" not in str(refused.value)


def test_a_hole_needs_room_for_the_answer(generator: TextGenerator) -> None:
    parameters = {"handle_long_generation": "hole", "max_new_tokens": 600}
    job = make_job("text-generation", {"inputs": "a cat", "parameters": parameters})
    with pytest.raises(InvalidInput, match="cannot use `hole`"):
        generator.preprocess(job, {})


def test_a_short_answer_does_not_wait_for_a_long_one(generator: TextGenerator) -> None:
    def key(new: int) -> Any:
        parameters = {"max_new_tokens": new, "do_sample": False}
        job = make_job("text-generation", {"inputs": "a cat", "parameters": parameters})
        return generator.preprocess(job, {}).chunks[0].key

    assert key(8) == key(15)
    assert key(15) != key(16)


def test_answers_are_as_long_as_asked(generator: TextGenerator) -> None:
    lengths = (8, 11, 15)
    jobs = [
        make_job(
            "text-generation",
            {
                "inputs": f"a cat {new}",
                "parameters": {
                    "max_new_tokens": new,
                    "min_new_tokens": 8,
                    "do_sample": False,
                    "return_full_text": False,
                },
            },
        )
        for new in lengths
    ]
    prepared = [generator.preprocess(job, {}) for job in jobs]
    outputs = generator.forward([each.chunks[0] for each in prepared])
    made = [
        output["generated_sequence"].shape[-1] - each.chunks[0].length
        for output, each in zip(outputs, prepared, strict=True)
    ]
    assert all(8 <= new <= most for new, most in zip(made, lengths, strict=True))
    assert len(run_batched(generator, jobs)[0]) == 3


def test_the_models_own_max_length_counts_the_prompt_without_padding(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator._model.generation_config, "max_length", 40)
    texts = ["a cat", "a cat and a dog and a bird"]
    parameters = {"do_sample": False}
    jobs = [
        make_job("text-generation", {"inputs": text, "parameters": parameters}) for text in texts
    ]
    for job, text in zip(jobs, texts, strict=True):
        chunk = generator.preprocess(job, {}).chunks[0]
        assert int(chunk.features["inputs"]["limit"]) == 40 - len(text)


@pytest.mark.parametrize("more", [{}, {"num_beams": 2}, {"do_sample": True}], ids=str)
def test_a_row_that_has_ended_stops_and_its_neighbour_goes_on(
    generator: TextGenerator, more: dict[str, Any]
) -> None:
    parameters = {"max_new_tokens": 12, "min_new_tokens": 12, "return_full_text": False, **more}
    jobs = [
        make_job("text-generation", {"inputs": f"a cat {name}", "parameters": parameters})
        for name in ("one", "two")
    ]
    chunks = [generator.preprocess(job, {}).chunks[0] for job in jobs]
    asked: list[int] = []

    def ended() -> list[bool]:
        asked.append(1)
        return [len(asked) >= 3, False]

    gone, whole = generator.forward(chunks, ended)

    assert len(asked) > 3
    assert whole["generated_sequence"].shape[-1] - chunks[1].length == 12
    if not more:
        made = gone["generated_sequence"][0, 0, chunks[0].length :]
        assert len(set(made[3:].tolist())) <= 1  # nothing but padding


def test_a_pass_ends_when_all_of_its_rows_have(generator: TextGenerator) -> None:
    parameters = {"max_new_tokens": 64, "min_new_tokens": 64, "do_sample": False}
    job = make_job("text-generation", {"inputs": "a cat", "parameters": parameters})
    asked: list[int] = []

    def ended() -> list[bool]:
        asked.append(1)
        return [len(asked) >= 3]

    generator.forward([generator.preprocess(job, {}).chunks[0]], ended)

    assert len(asked) == 3
