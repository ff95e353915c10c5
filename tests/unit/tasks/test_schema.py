"""JSON Schemas say of jobs and outputs what the types do."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stoker_tasks.catalog import CATALOG, find
from stoker_tasks.errors import StokerError
from stoker_tasks.schema import job_schema, output_schema
from stoker_tasks.spec import TaskSpec
from stoker_tasks.wire import make_job

LABELS = [{"label": "good", "score": 0.9}]


@pytest.mark.parametrize("spec", CATALOG.values(), ids=lambda spec: spec.name)
def test_each_task_has_schemas_that_its_example_fits(spec: TaskSpec) -> None:
    job, output = job_schema(spec), output_schema(spec)

    for schema in (job, output):
        Draft202012Validator.check_schema(schema)
        assert json.loads(json.dumps(schema)) == schema
    Draft202012Validator(job).validate(spec.example)
    assert [name for name, each in job["properties"].items() if not each.get("description")] == []


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        ({"inputs": "x"}, True),
        ({"inputs": ["x", "y"], "parameters": {"top_k": 2}, "priority": "low"}, True),
        ({"inputs": "x", "webhook": "https://example.org/hook"}, True),
        ({"inputs": "x", "webhook": {"url": "https://example.org/hook"}}, True),
        ({}, False),
        ({"inputs": 1}, False),
        ({"inputs": "x", "parameters": {"topk": 2}}, False),
        ({"inputs": "x", "parameters": {"top_k": "2"}}, False),
        ({"inputs": "x", "webhook": {"url": "https://example.org/hook", "more": 1}}, False),
        ({"inputs": "x", "more": 1}, False),
    ],
)
def test_a_jobs_schema_takes_what_its_type_takes(fields: dict[str, Any], right: bool) -> None:
    task = "text-classification"
    try:
        make_job(task, fields)
        taken = True
    except StokerError:
        taken = False

    assert taken is right
    assert Draft202012Validator(job_schema(find(task))).is_valid(fields) is right


@pytest.mark.parametrize(
    ("task", "output", "right"),
    [
        ("text-classification", LABELS, True),
        ("text-classification", [LABELS, LABELS], True),
        ("text-classification", [{"label": "good"}], False),
        ("text-classification", [{"label": "good", "score": "0.9"}], False),
        ("depth-estimation", {"depth": 1}, False),
        ("decision", {"refund": {"type": "noul", "noul": 0.5}}, True),
        ("decision", {"refund": {"type": "bool", "noul": 0.5}}, False),
    ],
)
def test_an_outputs_schema_knows_right_from_wrong(task: str, output: Any, right: bool) -> None:
    assert Draft202012Validator(output_schema(find(task))).is_valid(output) is right
