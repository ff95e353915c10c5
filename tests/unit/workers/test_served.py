"""Which model serves a job, by the settings and the models file."""

from concurrent.futures import Future
from typing import Any

import pytest

from stoker_config.models_file import ModelEntry
from stoker_tasks.errors import InvalidInput, ModelNotAllowed, Unserved
from stoker_tasks.job import Job
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.served import ServedModels, parse_preload
from stoker_workers.engine.window import Budget

CLASSIFY = "text-classification"
FILES = {
    "sentiment": ModelEntry.model_validate(
        {
            "model": "org/bert",
            "revision": "v1",
            "tasks": ["text-classification"],
            "components": {"tokenizer": "org/tokens@t1"},
            "default": True,
            "preload": True,
            "batch_rows": 8,
            "batch_tokens": 512,
        }
    ),
    "any": ModelEntry(model="org/any", pin=True, tasks=("fill-mask", "token-classification")),
    "lora": ModelEntry(model="org/lora", revision="r7"),
}


def job(**fields: Any) -> Job:
    return make_job(CLASSIFY, {"inputs": "x", **fields})


def serve(**settings: Any) -> ServedModels:
    def get(key: ModelKey, *, wary: bool = False) -> "Future[Any]":
        raise AssertionError("nothing is loaded here")

    return ServedModels(get, **{"listed": FILES, **settings})


SENTIMENT = ModelKey(CLASSIFY, "org/bert", "v1", (("tokenizer", "org/tokens@t1"),), "sentiment")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model": "sentiment"},
        {"model": "org/bert"},
        {"model": "org/bert", "revision": "v1"},
    ],
)
def test_a_listed_model_is_found_by_every_name_of_it(fields: dict[str, str]) -> None:
    assert serve().key_of(job(**fields)) == SENTIMENT


def test_another_revision_is_another_model_without_the_listed_options() -> None:
    found = serve().key_of(job(model="org/bert", revision="v2"))
    assert found == ModelKey(CLASSIFY, "org/bert", "v2")


def test_a_jobs_parts_are_part_of_what_it_shares_a_batch_by() -> None:
    parts = {"adapter": "lora", "tokenizer": "org/other"}
    found = serve().key_of(job(model="sentiment", components=parts))
    assert found.components == (("adapter", "org/lora@r7"), ("tokenizer", "org/other"))
    assert found != SENTIMENT


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "sentiment", "revision": "v1"}, "leave out revision"),
        ({"model": "any"}, "listed for fill-mask, token-classification, not for text-class"),
        ({"revision": "v1"}, "without model"),
    ],
)
def test_what_contradicts_the_file_is_refused(fields: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        serve().key_of(job(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "org/other"},
        {"model": "org/bert", "revision": "v2"},
        {"components": {"tokenizer": "org/other"}},
        {"components": {"adapter": "org/lora@r8"}},
    ],
)
def test_where_only_listed_models_are_served_nothing_else_gets_in(fields: dict[str, Any]) -> None:
    serve().key_of(job(**fields))
    with pytest.raises(ModelNotAllowed, match=r"serves only: .*sentiment"):
        serve(only=True).key_of(job(**fields))
    with pytest.raises(ModelNotAllowed):
        serve(allowed=("org/one",)).key_of(job(**fields))


def test_what_the_settings_allow_is_allowed_beside_the_file() -> None:
    served = serve(allowed=("org/one",))
    assert served.key_of(job(model="org/one", revision="v3")).revision == "v3"
    assert served.key_of(job(model="sentiment")) == SENTIMENT
    assert served.allowed == (
        "any", "lora", "org/any", "org/bert", "org/lora", "org/one", "sentiment",
    )  # fmt: skip
    assert serve().allowed == ()


def test_the_settings_come_before_the_file() -> None:
    first = parse_preload(["text-classification=org/one@v3", "fill-mask=any"])
    served = serve(preload=first)
    filler = ModelKey("fill-mask", "org/any", listed="any")
    assert served.preload == [ModelKey(CLASSIFY, "org/one", "v3"), filler, SENTIMENT]
    assert served.defaults == {CLASSIFY: "org/one", "fill-mask": "any"}
    assert filler in served.pinned
    assert SENTIMENT not in served.pinned


def test_a_listed_model_is_bounded() -> None:
    budget = Budget(tokens=1024, rows=4)
    assert serve().bound(SENTIMENT, budget) == Budget(tokens=512, rows=4)
    assert serve().bound(ModelKey(CLASSIFY, "org/x"), budget) == budget


def test_a_task_whose_parts_are_missing_is_refused_by_name() -> None:
    served = serve(lacking={CLASSIFY: "needs abacus, which is not installed: pip install abacus"})
    with pytest.raises(Unserved, match="cannot run text-classification: needs abacus, which"):
        served.key_of(job())
    filler = make_job("fill-mask", {"inputs": "a [MASK]", "model": "any"})
    assert served.key_of(filler).model == "org/any"
