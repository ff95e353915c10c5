"""The declarations of all tasks: complete, consistent, and quiet about what they hold."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

import stoker
from stoker_tasks.catalog import ALIASES, CATALOG, find
from stoker_tasks.errors import InvalidInput, UnknownTask
from stoker_tasks.generation import GENERATION
from stoker_tasks.job import Job
from stoker_tasks.spec import TaskSpec
from stoker_tasks.wire import celery_name, make_job, task_name

every_task = pytest.mark.parametrize("spec", CATALOG.values(), ids=CATALOG)


@every_task
def test_the_example_makes_a_job(spec: TaskSpec) -> None:
    job = make_job(spec.name, spec.example)

    assert type(job) is spec.job
    assert job.parameters.given() == spec.example.get("parameters", {})
    json.dumps(spec.example)


@every_task
def test_names_are_transformers_and_fit_celerys(spec: TaskSpec) -> None:
    assert find(spec.name) is spec
    assert task_name(celery_name(spec.name)) == spec.name
    assert celery_name(spec.name).removeprefix("stoker.").isidentifier()
    assert CATALOG[spec.name] is spec
    for alias in spec.aliases:
        assert find(alias) is spec
        assert alias not in CATALOG
        assert task_name(celery_name(alias)) == alias


@every_task
def test_what_reaches_the_forward_pass_is_a_parameter(spec: TaskSpec) -> None:
    # Tasks that take `generate_kwargs` have the settings of `generate()` below it.
    assert spec.forward_parameters - GENERATION <= set(spec.parameters)


@every_task
def test_a_job_cannot_be_changed_and_takes_no_unknown_field(spec: TaskSpec) -> None:
    job = make_job(spec.name, spec.example)

    with pytest.raises(ValidationError, match="frozen"):
        job.model = "other"
    with pytest.raises(ValidationError, match="Extra inputs"):
        spec.job.model_validate({**spec.example, "temperature": 1})


@every_task
def test_reprs_and_errors_show_no_inputs(spec: TaskSpec) -> None:
    job = make_job(spec.name, {**spec.example, "metadata": {"secret": "secret"}, "model": "a/b"})

    for shown in (repr(job), str(job), f"{job}", repr([job]), repr(job.model_dump)):
        assert "a/b" in shown
        assert "secret" not in shown
        for words in strings(spec.example):
            assert words not in shown
    with pytest.raises(ValidationError) as refused:
        spec.job.model_validate({"inputs": {"secret": "secret"}, "parameters": {"top_k": "secret"}})
    # A field's name is the caller's own; a value is nobody else's business.
    assert "input_value" not in str(refused.value)


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        # What a part of a message is, and who says it, are no caller's words.
        said = (each for name, each in value.items() if name not in ("type", "role"))
        return [words for each in said for words in strings(each)]
    return [words for each in value for words in strings(each)] if isinstance(value, list) else []


def test_an_unknown_task_is_told_what_is_near_it() -> None:
    with pytest.raises(UnknownTask, match="near it: text-classification") as near:
        find("text-clasification")
    with pytest.raises(UnknownTask) as far:
        find("x" * 1000)

    assert near.value.details["tasks"][0] == "text-classification"
    assert far.value.details["tasks"] == sorted(CATALOG)
    assert len(far.value.message) < 1000


def test_aliases_are_as_transformers_has_them() -> None:
    assert ALIASES["ner"] == "token-classification"
    assert ALIASES["sentiment-analysis"] == "text-classification"
    assert ALIASES["conversational"] == "text-generation"
    assert ALIASES["embeddings"] == ALIASES["sentence-similarity"] == "feature-extraction"


def test_a_translation_may_be_named_with_its_languages() -> None:
    assert find("translation_en_to_fr") is find("translation-en-to-fr") is find("translation")
    for wrong in ("translation_en", "translation_en_to_", "translation_en_to_fr_to_de"):
        with pytest.raises(UnknownTask):
            find(wrong)


def test_each_job_class_has_one_task() -> None:
    jobs = [spec.job for spec in CATALOG.values()]

    assert len(set(jobs)) == len(jobs)
    assert all(issubclass(job, Job) for job in jobs)


def test_a_part_of_a_message_names_no_file_or_address() -> None:
    # transformers would open it.
    for part in (
        {"type": "image", "url": "http://localhost/x.png"},
        {"type": "image", "image": {"base64": "aGk="}, "path": "secret"},
        {"type": "audio", "audio": "secret.wav"},
    ):
        with pytest.raises(InvalidInput):
            make_job("any-to-any", {"inputs": [{"role": "user", "content": [part]}]})


def test_each_typed_job_can_be_had_from_the_package() -> None:
    assert {spec.job.__name__ for spec in CATALOG.values()} <= set(stoker.__all__)
