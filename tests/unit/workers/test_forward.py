"""The forward pass: a fault reaches only the row whose fault it is, at a known price."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from stoker_tasks.errors import Internal, InvalidInput, OutOfMemory
from stoker_tasks.job import Job
from stoker_workers.engine.delivery import Delivery, Work
from stoker_workers.engine.forward import is_out_of_memory, run
from stoker_workers.engine.model import Chunk, Ended, Follow, Output, Prepared
from stoker_workers.engine.window import Row


class Model:
    """Doubles the lengths; fails on a length of 13, and when there are more rows than fit."""

    name = "m@local"

    def __init__(self, fits: int = 1000, count_off: bool = False) -> None:
        self.fits = fits
        self.count_off = count_off
        self.passes: list[int] = []

    def is_slow(self, job: Job) -> bool:
        return False

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        raise NotImplementedError

    def forward(
        self,
        chunks: Sequence[Chunk],
        ended: Ended | None = None,
        follow: Sequence[Follow | None] = (),
    ) -> Sequence[Any]:
        self.passes.append(len(chunks))
        if len(chunks) > self.fits:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        if any(chunk.length == 13 for chunk in chunks):
            raise ValueError("unlucky")
        if any(chunk.length == 14 for chunk in chunks):
            raise InvalidInput("fourteen is refused")
        outputs = [2 * chunk.length for chunk in chunks]
        return outputs[1:] if self.count_off and len(chunks) > 1 else outputs

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        raise NotImplementedError


def outcome(model: Model, lengths: Sequence[int]) -> dict[int, Any]:
    delivery = Delivery(
        id="",
        celery_task="",
        args=(),
        kwargs={},
        submitted=0.0,
        priority=3,
        redelivered=False,
        handle=None,
    )
    rows = [Row(Work(delivery), at, Chunk({}, length), at) for at, length in enumerate(lengths)]
    given: dict[int, Any] = {}
    for each in run(model, rows, lambda rows: [False] * len(rows), lambda _: None):
        for row, output in zip(each.rows, each.outputs, strict=True):
            assert row.position not in given
            given[row.position] = output
    assert sorted(given) == list(range(len(lengths)))
    return given


def test_a_clean_batch_is_one_pass() -> None:
    model = Model()

    assert outcome(model, [1, 2, 3]) == {0: 2, 1: 4, 2: 6}
    assert model.passes == [3]


@pytest.mark.parametrize("guilty", range(32))
def test_one_guilty_row_fails_alone_for_at_most_two_log_passes(guilty: int) -> None:
    model = Model()
    lengths = [1] * 32
    lengths[guilty] = 13

    given = outcome(model, lengths)

    assert isinstance(given.pop(guilty), Internal)
    assert set(given.values()) == {2}
    assert len(model.passes) - 1 <= 2 * math.log2(32)


def test_a_typed_error_of_a_row_is_kept() -> None:
    given = outcome(Model(), [1, 14])

    assert isinstance(given[1], InvalidInput)
    assert given[0] == 2


def test_out_of_memory_halves_and_blames_nobody() -> None:
    model = Model(fits=5)

    assert outcome(model, [1] * 16) == dict.fromkeys(range(16), 2)
    assert model.passes == [16, 8, 4, 4, 8, 4, 4]


def test_a_row_that_does_not_fit_alone_is_out_of_memory() -> None:
    given = outcome(Model(fits=0), [7])

    assert isinstance(given[0], OutOfMemory)
    assert given[0].details == {"length": 7}


def test_a_wrong_number_of_outputs_is_a_fault() -> None:
    model = Model(count_off=True)

    assert outcome(model, [1, 2, 3, 4]) == {0: 2, 1: 4, 2: 6, 3: 8}
    assert model.passes == [4, 2, 1, 1, 2, 1, 1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 20 MiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_the_wordings_of_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
