"""What models that look at images are asked, and what they answer at the edges."""

import inspect
import io
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stoker_tasks import image, regions
from stoker_tasks.catalog import find
from stoker_tasks.errors import InvalidInput, Unserved
from stoker_tasks.regions import MaskGenerationParameters
from stoker_tasks.spec import TaskSpec
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey, Output
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.catalog import ROOMS, load
from stoker_workers.models.device import find_device
from tests.parity.batched import run_batched, with_contents
from tests.parity.cases import CASES
from tests.tiny.fixture import TinyModel
from tests.tiny.media import picture

# Where torchvision is: tests/parity/with_torchvision.py.
SPECS = [spec for spec in (*image.TASKS, *regions.TASKS) if "torchvision" not in spec.needs]
PICTURE = picture(64, 48, 5)


def a_model(tiny: TinyModel, task: str, name: str) -> Adapter:
    return load(ModelKey(task, tiny(name)), find_device("cpu"))


def run(model: Adapter, task: str, inputs: Any, **parameters: Any) -> Output:
    outputs, _ = run_batched(model, [make_job(task, {"inputs": inputs, "parameters": parameters})])
    return outputs[0]


@pytest.mark.parametrize("spec", SPECS, ids=[spec.name for spec in SPECS])
def test_the_example_runs(spec: TaskSpec, tiny: TinyModel) -> None:
    name = next(case.model for case in CASES if case.task == spec.name)
    outputs, forwards = run_batched(
        a_model(tiny, spec.name, name), [make_job(spec.name, spec.example)]
    )
    assert forwards == 1
    assert outputs[0].value is not None


def test_what_is_equally_far_away_is_black(tiny: TinyModel) -> None:
    output = run(a_model(tiny, "depth-estimation", "dpt_flat"), "depth-estimation", PICTURE)
    value = with_contents(output)
    assert np.ptp(value["predicted_depth"]) == 0
    assert value["depth"].size == (64, 48)
    assert value["depth"].getextrema() == (0, 0)


@pytest.mark.parametrize(
    ("name", "subtask"),
    [("detr_panoptic", "panoptic"), ("maskformer", "panoptic"), ("maskformer", "instance")],
)
def test_an_image_without_a_sure_segment_has_none(name: str, subtask: str, tiny: TinyModel) -> None:
    model = a_model(tiny, "image-segmentation", name)
    output = run(model, "image-segmentation", PICTURE, threshold=1.0, subtask=subtask)
    assert output == Output([])


def test_a_mask_is_a_picture_as_large_as_the_image(tiny: TinyModel) -> None:
    model = a_model(tiny, "image-segmentation", "segformer")
    output = run(model, "image-segmentation", PICTURE)
    (mask, artifact) = (output.value[0]["mask"], output.artifacts[0])
    assert mask == {
        "artifact": artifact.uri,
        "mime_type": "image/png",
        "size": [64, 48],
        "mode": "L",
    }
    assert Image.open(io.BytesIO(artifact.data)).size == (64, 48)


def test_nothing_found_is_an_empty_list(tiny: TinyModel) -> None:
    for task, name in (("object-detection", "detr"), ("zero-shot-object-detection", "owlvit")):
        labels = {"candidate_labels": ["a"]} if task.startswith("zero") else {}
        output = run(a_model(tiny, task, name), task, PICTURE, threshold=1.0, **labels)
        assert output.value == []


def test_a_subtask_that_the_model_cannot_do_is_told_early(tiny: TinyModel) -> None:
    model = a_model(tiny, "image-segmentation", "segformer")
    job = make_job("image-segmentation", {"inputs": PICTURE, "parameters": {"subtask": "panoptic"}})
    with pytest.raises(InvalidInput, match=r"this model does semantic segmentation, not panoptic"):
        model.preprocess(job, {})


def test_names_of_classes_are_not_fetched_from_another_repository(
    tiny: TinyModel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny("oneformer"), tmp_path / "model"))
    file = folder / "preprocessor_config.json"
    # As in the published checkpoints.
    published = {"repo_path": "stoker-tests/none", "class_info_file": "ade20k_panoptic.json"}
    file.write_text(json.dumps({**json.loads(file.read_text()), **published}))
    model = load(ModelKey("image-segmentation", str(folder)), find_device("cpu"))
    assert run(model, "image-segmentation", PICTURE, subtask="semantic").value


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="needs an absent torchvision")
@pytest.mark.parametrize("given", [{}, {"subtask": "panoptic"}, {"subtask": "instance"}])
def test_what_oneformer_needs_torchvision_for(given: dict[str, Any], tiny: TinyModel) -> None:
    model = a_model(tiny, "image-segmentation", "oneformer")
    job = make_job("image-segmentation", {"inputs": PICTURE, "parameters": given})
    with pytest.raises(Unserved, match="pip install torchvision, or set subtask to semantic"):
        model.preprocess(job, {})


def test_pooling_is_not_done_with_random_numbers(tiny: TinyModel) -> None:
    model = a_model(tiny, "image-feature-extraction", "vit_without_pooler")
    with pytest.raises(InvalidInput, match=r"not trained to pool .*: leave pool out"):
        run(model, "image-feature-extraction", PICTURE, pool=True)
    assert run(model, "image-feature-extraction", PICTURE).value


def test_a_model_that_does_not_pool_says_so(tiny: TinyModel) -> None:
    model = a_model(tiny, "image-feature-extraction", "segformer")
    with pytest.raises(InvalidInput, match="no pooled output: leave pool out"):
        run(model, "image-feature-extraction", PICTURE, pool=True)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"size": {"height": 48, "width": 48}}, "cannot look at images like this.*48"),
        ({"size": {"height": 48}}, "image-feature-extraction cannot read this job"),
    ],
)
def test_a_size_that_does_not_fit_the_model_is_the_jobs_fault(
    given: Any, says: str, tiny: TinyModel
) -> None:
    model = a_model(tiny, "image-feature-extraction", "vit_encoder")
    with pytest.raises(InvalidInput, match=says):
        run(model, "image-feature-extraction", PICTURE, image_processor_kwargs=given)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_label_too_long_for_the_model_is_refused(name: str, tiny: TinyModel) -> None:
    model = a_model(tiny, "zero-shot-image-classification", name)
    labels = ["a", "zebra " * 40]
    with pytest.raises(InvalidInput, match=r"has \d+ tokens and this model reads at most") as found:
        run(model, "zero-shot-image-classification", PICTURE, candidate_labels=labels)
    assert "zebra" not in str(found.value.args)


def test_what_to_look_for_may_be_too_long(tiny: TinyModel) -> None:
    model = a_model(tiny, "zero-shot-object-detection", "owlvit")
    with pytest.raises(InvalidInput, match=r"reads at most 16: .*candidate_labels"):
        run(model, "zero-shot-object-detection", PICTURE, candidate_labels=["a", "zebra " * 9])


def test_an_image_is_looked_at_once_for_all_its_labels(tiny: TinyModel) -> None:
    model = a_model(tiny, "zero-shot-object-detection", "owlvit")
    given = {"candidate_labels": ["a cat", "a dog", "a fox"]}
    job = make_job("zero-shot-object-detection", {"inputs": PICTURE, "parameters": given})
    assert len(model.preprocess(job, {}).chunks) == 1


@pytest.mark.parametrize("spec", [*image.TASKS, *regions.TASKS], ids=lambda spec: spec.name)
def test_defaults_are_the_pipelines(spec: TaskSpec) -> None:
    pipeline = ROOMS[spec.name].recipe.pipeline
    theirs = {
        name: each.default
        for stage in (pipeline.preprocess, pipeline._forward, pipeline.postprocess)
        for name, each in _parameters(stage).items()
        if each.default is not each.empty
    }
    parameters: Any = spec.job.model_fields["parameters"].annotation
    ours = {
        name: field.default
        for name, field in parameters.model_fields.items()
        if not field.is_required() and field.default is not None
    }
    # Their own is none, which means false.
    ours.pop("pool", None)
    assert {name: theirs[name] for name in ours} == ours


def _parameters(function: Any) -> Any:
    return inspect.signature(function).parameters


def test_masks_are_typed_with_all_parameters_of_the_pipeline() -> None:
    pipeline = ROOMS["mask-generation"].recipe.pipeline
    theirs = {
        name
        for stage in (pipeline.preprocess, pipeline._forward, pipeline.postprocess)
        for name, each in _parameters(stage).items()
        if each.default is not each.empty
    }
    assert set(MaskGenerationParameters.model_fields) == theirs - {"timeout"}


@pytest.mark.parametrize(
    ("task", "output", "handed_over"),
    [
        ("image-to-image", {"artifact": "a:1"}, {"uri": "a:1"}),
        ("image-to-image", [{"artifact": "a:1"}], [{"uri": "a:1"}]),
        ("depth-estimation", {"depth": {"artifact": "a:2"}}, {"uri": "a:2"}),
        ("depth-estimation", [{"depth": {"artifact": "a:2"}}], [{"uri": "a:2"}]),
    ],
)
def test_the_next_task_gets_the_picture(task: str, output: Any, handed_over: Any) -> None:
    hand_over = find(task).hand_over
    assert hand_over is not None
    assert hand_over(output) == handed_over
    assert make_job("image-classification", {"inputs": handed_over}).inputs is not None
