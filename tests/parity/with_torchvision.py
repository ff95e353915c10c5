"""What is true where torchvision is installed: `test_torchvision` runs this in such a process."""

import pytest

from stoker_tasks.catalog import find
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import check, run_batched
from tests.parity.cases import CASES, regions
from tests.parity.cases.case import Case
from tests.parity.test_mutations import OneJobsParameters, RowsPermuted, differs
from tests.tiny.fixture import TinyModel

# Where torchvision is, transformers has it read the images.
READ_OTHERWISE = [case for case in CASES if case.name in ("object-detection", "depth-estimation")]


@pytest.mark.parametrize("case", [*regions.MASKS, *READ_OTHERWISE], ids=str)
def test_batched_equals_alone(case: Case, tiny: TinyModel) -> None:
    folder = tiny(case.model)
    found, forwards = check(case, load(ModelKey(case.task, folder), find_device("cpu")), folder)
    assert not found
    assert forwards == case.forwards


def test_mistakes_are_noticed(tiny: TinyModel) -> None:
    case = regions.MASKS[0]
    assert differs(case, tiny, RowsPermuted, may_fail=True)
    assert differs(case, tiny, OneJobsParameters)


def test_nothing_found_is_no_fault(tiny: TinyModel) -> None:
    spec = find("mask-generation")
    model = load(ModelKey(spec.name, tiny("sam")), find_device("cpu"))
    # Trained models are surer than this tiny one.
    outputs, _ = run_batched(model, [make_job(spec.name, spec.example)])
    assert outputs[0].value == {"masks": [], "scores": []}
