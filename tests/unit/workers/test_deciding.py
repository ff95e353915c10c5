"""Decisions: models and requests that cannot end in one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stoker_tasks.errors import InvalidInput, ModelLoadFailed
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import jobs_of, run_batched
from tests.parity.cases.case import ENDLESS, SHORT
from tests.tiny.fixture import TinyModel
from tests.tiny.media import picture

NOUL = {"refund": {"type": "noul", "instructions": "Is a refund requested?"}}


def loaded(folder: str | Path) -> Adapter:
    return load(ModelKey("decision", str(folder)), find_device("cpu"))


def decide(model: Adapter, inputs: Any) -> Any:
    [output], _ = run_batched(model, jobs_of("decision", [(inputs, {})]))
    return output.value


@pytest.mark.parametrize(
    "questions",
    [
        {},
        {"a": {"type": "guess"}},
        {"a": {"type": "choice"}},
        {"a": {"type": "choice", "criteria": {}}},
        {"a": {"type": "score", "criteria": {"low": None}}},
        {"a": {"type": "noul", "criteria": {"perhaps": None}}},
    ],
)
def test_a_question_has_one_of_three_forms(questions: Any) -> None:
    with pytest.raises(InvalidInput, match=r"noul .true or false., choice .criteria by option."):
        make_job("decision", {"inputs": {"state": SHORT, "questions": questions}})


def test_what_a_model_cannot_read_is_refused(tiny: TinyModel) -> None:
    model = loaded(tiny("llama_decider"))
    shown = {"state": "is it img-1 ?", "questions": NOUL, "assets": {"img-1": picture(9, 9, 1)}}
    many = {"a": {"type": "score", "criteria": ["level"] * 27}}

    with pytest.raises(InvalidInput, match="Images need a model whose processor handles them"):
        decide(model, shown)
    with pytest.raises(InvalidInput, match="tells at most 26 apart"):
        decide(model, {"state": "", "questions": many})
    with pytest.raises(InvalidInput, match="reads at most 512"):
        decide(model, {"state": ENDLESS, "questions": NOUL})


def test_labels_are_single_tokens(tiny: TinyModel) -> None:
    # To this one Yes and No are three tokens and two.
    model = loaded(tiny("llama_chat"))

    with pytest.raises(InvalidInput, match="not distinct single tokens"):
        decide(model, {"state": SHORT, "questions": NOUL})
    level = {"a": {"type": "score", "criteria": ["low", "high"]}}
    assert 0 <= decide(model, {"state": SHORT, "questions": level})["a"]["score"] <= 1


def test_a_model_that_cannot_chat_is_refused(tiny: TinyModel) -> None:
    with pytest.raises(ModelLoadFailed, match="no chat template"):
        loaded(tiny("gpt2"))


def test_a_head_beside_the_weights_is_not_left_out(tiny: TinyModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny("llama_decider"), folder)
    (folder / "judge_config.json").write_text(json.dumps({}))

    with pytest.raises(ModelLoadFailed, match="would be read without it"):
        loaded(folder)
