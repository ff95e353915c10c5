"""What `stoker tasks NAME` prints as an example runs, and what goes in and out fits the schemas."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stoker_tasks.catalog import CATALOG
from stoker_tasks.schema import job_schema, output_schema
from stoker_tasks.spec import TaskSpec
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import run_batched
from tests.parity.cases import CASES
from tests.tiny.fixture import TinyModel

# `with_torchvision.py` runs the example of mask-generation.
SPECS = [spec for spec in CATALOG.values() if "torchvision" not in spec.needs]

# Trained models read longer texts than the tiny ones, and are surer.
TINY: dict[str, dict[str, Any]] = {
    "summarization": {"truncation": True},
    "object-detection": {"threshold": 0.0},
    "keypoint-matching": {"threshold": 0.0},
}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_example_runs(spec: TaskSpec, tiny: TinyModel) -> None:
    folder = tiny(next(case.model for case in CASES if case.task == spec.name))
    model = load(ModelKey(spec.name, folder), find_device("cpu"))
    parameters = {**spec.example.get("parameters", {}), **TINY.get(spec.name, {})}
    once = {**spec.example, "parameters": parameters}
    twice = {**once, "inputs": [once["inputs"]] * 2}
    for fields in (once, twice):
        Draft202012Validator(job_schema(spec)).validate(fields)
    jobs = [make_job(spec.name, fields) for fields in (once, twice)]
    (output, outputs), _ = run_batched(model, jobs)
    assert output.value
    for value in (output.value, outputs.value):
        as_json = json.loads(json.dumps(value, allow_nan=False))
        Draft202012Validator(output_schema(spec)).validate(as_json)
    if spec.hand_over is not None:
        assert spec.hand_over(output.value) is not None
