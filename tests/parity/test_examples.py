"""What `stoker tasks NAME` prints as an example runs, for tasks with sounds, films and images."""

import pytest

from stoker_tasks import audio, image_words, multimodal, speaking, video
from stoker_tasks.spec import TaskSpec
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import run_batched
from tests.parity.cases import CASES
from tests.tiny.fixture import TinyModel

SPECS = [
    spec for family in (audio, video, image_words, speaking, multimodal) for spec in family.TASKS
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_example_runs(spec: TaskSpec, tiny: TinyModel) -> None:
    folder = tiny(next(case.model for case in CASES if case.task == spec.name))
    model = load(ModelKey(spec.name, folder), find_device("cpu"))
    (output,), _ = run_batched(model, [make_job(spec.name, spec.example)])
    assert output.value
    if spec.hand_over is not None:
        assert spec.hand_over(output.value) is not None
