"""The forward pass: a fault reaches only the row whose fault it is, at a known price."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from stoker_tasks.errors import Internal, InvalidInput, OutOfMemory
from stoker_tasks.job import Job
from stoker_workers.engine.delivery import Delivery, Work
from stoker_workers.engine.forward import DeviceFault, is_device_fault, is_out_of_memory, run
from stoker_workers.engine.model import Chunk, Ended, Follow, Output, Prepared
from stoker_workers.engine.window import Row

# Of the lengths in a pass: which of them come out as numbers that are none.
Spoiled = Callable[[Sequence[int]], Sequence[bool]]


class Model:
    """Doubles the lengths; fails on a length of 13, and when there are more rows than fit."""

    name = "m@local"

    def __init__(
        self,
        fits: int = 1000,
        count_off: bool = False,
        wording: str = "[enforce fail] DefaultCPUAllocator: can't allocate memory",
        spoiled: Spoiled = lambda lengths: [False] * len(lengths),
    ) -> None:
        self.fits = fits
        self.count_off = count_off
        self.wording = wording
        self.spoiled = spoiled
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
            raise RuntimeError(self.wording)
        if any(chunk.length == 13 for chunk in chunks):
            raise ValueError("unlucky")
        if any(chunk.length == 14 for chunk in chunks):
            raise InvalidInput("fourteen is refused")
        bad = self.spoiled([chunk.length for chunk in chunks])
        outputs = [
            Internal("no numbers") if spoiled else 2 * chunk.length
            for chunk, spoiled in zip(chunks, bad, strict=True)
        ]
        return outputs[1:] if self.count_off and len(chunks) > 1 else outputs

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        raise NotImplementedError


def outcome(
    model: Model,
    lengths: Sequence[int],
    overflowed: Callable[[Sequence[Row]], None] = lambda _: None,
) -> dict[int, Any]:
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
    for each in run(model, rows, lambda rows: [False] * len(rows), overflowed):
        for row, output in zip(each.rows, each.outputs, strict=True):
            assert row.position not in given
            given[row.position] = output
    assert sorted(given) == list(range(len(lengths)))
    return given


def test_a_clean_batch_is_one_pass() -> None:
    model = Model()

    assert outcome(model, [1, 2, 3]) == {0: 2, 1: 4, 2: 6}
    assert model.passes == [3]


@pytest.mark.parametrize("size", range(1, 41))
def test_one_guilty_row_fails_alone_for_at_most_two_log_passes(size: int) -> None:
    for guilty in range(size):
        fails_alone(Model(), guilty, 13, size)


def fails_alone(model: Model, guilty: int, length: int, size: int) -> None:
    """Run rows of which one has a length that the model fails for: it fails, soon and alone."""
    lengths = list(range(20, 20 + size))
    lengths[guilty] = length

    given = outcome(model, lengths)

    assert isinstance(given.pop(guilty), Internal)
    assert given == {at: 2 * each for at, each in enumerate(lengths) if at != guilty}
    assert len(model.passes) - 1 <= 2 * math.log2(size)


@pytest.mark.parametrize("size", range(1, 17))
def test_each_of_two_guilty_rows_fails_alone(size: int) -> None:
    for one in range(size):
        for other in range(one):
            lengths = [1] * size
            lengths[one] = lengths[other] = 13

            given = outcome(Model(), lengths)

            assert {at for at, each in given.items() if isinstance(each, Internal)} == {one, other}


def test_a_fault_of_rows_that_do_not_go_together_is_nobodys() -> None:
    class Model2And3(Model):
        def forward(self, chunks, ended=None, follow=()):  # type: ignore[no-untyped-def]
            outputs = super().forward(chunks)
            if {2, 3} <= {chunk.length for chunk in chunks}:
                raise ValueError("not in one pass")
            return outputs

    assert outcome(Model2And3(), [2, 1, 1, 3]) == {0: 4, 1: 2, 2: 2, 3: 6}


def test_a_row_is_run_again_before_it_is_blamed_for_numbers_that_are_none() -> None:
    # As padding may spoil a row: the shorter of two, where one is much longer.
    model = Model(spoiled=lambda lengths: [max(lengths) > 9 and each < 9 for each in lengths])

    assert outcome(model, [3, 10, 5, 11]) == {0: 6, 1: 20, 2: 10, 3: 22}
    assert model.passes == [4, 2]


def test_numbers_that_are_none_fail_the_row_that_has_them_alone() -> None:
    model = Model(spoiled=lambda lengths: [each == 7 for each in lengths])

    given = outcome(model, [1, 7, 3, 4])

    assert isinstance(given.pop(1), Internal)
    assert given == {0: 2, 2: 6, 3: 8}
    assert model.passes == [4, 1]


@pytest.mark.parametrize("size", range(1, 41))
def test_a_row_that_spoils_all_of_its_pass_fails_alone(size: int) -> None:
    for guilty in range(size):
        model = Model(spoiled=lambda lengths: [7 in lengths] * len(lengths))
        fails_alone(model, guilty, 7, size)


@pytest.mark.parametrize("count", range(1, 12))
def test_what_rows_of_such_numbers_cost(count: int) -> None:
    always = Model(spoiled=lambda lengths: [each < 20 for each in lengths])
    given = outcome(always, [*range(1, count + 1), *range(20, 24)])
    assert sum(isinstance(each, Internal) for each in given.values()) == count
    assert len(always.passes) - 1 <= 2 * count - 1

    # The shorter ones of any pass: each further one leaves a single row out.
    shorter = Model(spoiled=lambda lengths: [each < max(lengths) for each in lengths])
    given = outcome(shorter, range(1, count + 2))
    assert given == {at: 2 * at + 2 for at in range(count + 1)}
    assert len(shorter.passes) - 1 <= 2 * count - 1


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


OUT_OF_MEMORY = [
    "CUDA out of memory. Tried to allocate 20 MiB",
    "HIP out of memory. Tried to allocate 20 MiB",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "MPS backend out of memory (MPS allocated: 9 GB)",
    "Invalid buffer size: 24.00 GiB",
    "Invalid buffer size: 9.75 GB",
    "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried",
    "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried",
    "std::bad_alloc",
]


@pytest.mark.parametrize("wording", OUT_OF_MEMORY)
def test_each_wording_of_out_of_memory_is_halved_and_learned(wording: str) -> None:
    model, told = Model(fits=1, wording=wording), list[int]()

    given = outcome(model, [1] * 4, lambda rows: told.append(len(rows)))

    assert given == dict.fromkeys(range(4), 2)
    assert told == [4, 2, 2]
    assert isinstance(outcome(Model(fits=0, wording=wording), [7])[0], OutOfMemory)


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("std::bad_alloc")])
def test_the_class_of_out_of_memory_suffices(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_device_fault(error)


class AcceleratorError(RuntimeError):
    """As torch's: this room does not know torch."""


DEVICE_FAULTS = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
    RuntimeError("CUDA driver error: unspecified launch failure"),
    RuntimeError("CUDA driver error code: 700"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError("Triton Error [HIP]:  Code: 700, Message: an illegal memory access"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("cuDNN Frontend error: CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER"),
    RuntimeError("cuFFT error: CUFFT_EXEC_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_EXECUTION_FAILED, when calling `x`"),
    RuntimeError("HIP error: an illegal memory access was encountered"),
    RuntimeError("HIP driver error: unknown"),
    RuntimeError("CUDA error: HIPBLAS_STATUS_INTERNAL_ERROR when calling `hipblasSgemm`"),
    RuntimeError("miopenStatusUnknownError"),
    AcceleratorError("the device went away"),
]

ORDINARY = [
    *map(RuntimeError, OUT_OF_MEMORY),
    AcceleratorError("CUDA error: out of memory"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    RuntimeError("Invalid buffer size: 5 where 7 was expected"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if"),
    RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"),
    # A call that the device refused: the next one is answered.
    AcceleratorError("CUDA error: invalid configuration argument\nSearch for it"),
    RuntimeError("Triton Error [CUDA]: invalid argument"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmul`"),
    RuntimeError("no CUDA GPUs are available"),
    RuntimeError("the text says: CUDA error: an illegal memory access"),
    # What quotes its input must not let a caller end a worker.
    ValueError("CUDA error: an illegal memory access was encountered"),
    IndexError("index out of range in self"),
]


@pytest.mark.parametrize("error", DEVICE_FAULTS, ids=str)
def test_an_error_that_leaves_the_device_unusable_ends_all_passes(error: Exception) -> None:
    class Lost(Model):
        def forward(self, chunks, ended=None, follow=()):  # type: ignore[no-untyped-def]
            self.passes.append(len(chunks))
            raise error

    model = Lost()
    assert is_device_fault(error)
    with pytest.raises(DeviceFault):
        outcome(model, [1, 2, 3])
    assert model.passes == [3]


@pytest.mark.parametrize("error", ORDINARY, ids=str)
def test_what_leaves_the_device_usable(error: Exception) -> None:
    assert not is_device_fault(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("Invalid buffer size: 5 where 7 was expected"),
        ValueError("out of memory"),
        *DEVICE_FAULTS,
    ],
    ids=str,
)
def test_what_is_not_out_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
