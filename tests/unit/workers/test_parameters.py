"""Each parameter of a task's pipeline is one of its jobs', or is left out for a told reason."""

import inspect
import re

import pytest
from transformers import Pipeline

from stoker_tasks.catalog import CATALOG
from stoker_tasks.spec import TaskSpec
from stoker_workers.models.catalog import ROOMS

# What Stoker's own rewriting pipelines call themselves with.
INTERNAL = {"settings"}
# Some pipelines name nothing in their signature, and look for what they take.
LOOKED_FOR = re.compile(r'"(\w+)" in (?:generate_)?kwargs\b|kwargs\.(?:get|pop)\("(\w+)"')


def named_by(pipeline: type[Pipeline]) -> set[str]:
    """List the parameters that a pipeline class names, and those that it looks for."""
    found: set[str] = set()
    for each in pipeline.__mro__:
        sanitize = each.__dict__.get("_sanitize_parameters")
        if sanitize is None or each is Pipeline:
            continue
        found |= {
            name
            for name, parameter in inspect.signature(sanitize).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD and name != "self"
        }
        looked_for = LOOKED_FOR.findall(inspect.getsource(sanitize))
        found |= {one or other for one, other in looked_for}
    return found - INTERNAL


@pytest.mark.parametrize("spec", CATALOG.values(), ids=CATALOG)
def test_each_parameter_is_taken_or_left_out_for_a_reason(spec: TaskSpec) -> None:
    named = named_by(ROOMS[spec.name].recipe.pipeline)

    assert not named - {*spec.parameters, *spec.left_out}
    assert not spec.left_out.keys() & set(spec.parameters)


def test_what_is_named_is_found() -> None:
    found = {task: named_by(room.recipe.pipeline) for task, room in ROOMS.items()}

    assert found["decision"] == found["image-to-image"] == set()
    assert {"return_type", "padding", "documents"} <= found["text-generation"]
    assert {"threshold", "timeout"} <= found["object-detection"]
    assert {"src_lang", "truncation"} <= found["translation"]
