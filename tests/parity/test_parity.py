"""A batched job's output equals that of the same job run alone by `transformers.pipeline`."""

import pytest

from stoker_tasks.catalog import CATALOG
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.catalog import ROOMS, load
from stoker_workers.models.device import find_device
from tests.parity.batched import check
from tests.parity.cases import CASES, regions
from tests.parity.cases.case import Case
from tests.tiny.fixture import TinyModel

# Whisper, asked for the times of words, aligns answers of a single token too.
pytestmark = [
    pytest.mark.filterwarnings("ignore:std\\(\\). degrees of freedom is:UserWarning"),
    # Marian's tokenizer without an optional package.
    pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_batched_equals_alone(case: Case, tiny: TinyModel) -> None:
    folder = tiny(case.model)
    found, forwards = check(case, load(ModelKey(case.task, folder), find_device("cpu")), folder)
    assert not found
    assert forwards == case.forwards


def test_every_task_has_a_room_and_a_case() -> None:
    assert set(ROOMS) == set(CATALOG) == {case.task for case in (*CASES, *regions.MASKS)}
