"""Runs one batch through a model, so that a fault reaches only the job whose fault it is."""

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stoker_tasks.errors import Internal, OutOfMemory, StokerError
from stoker_workers.engine.faults import log_fault
from stoker_workers.engine.model import Follow, WarmModel
from stoker_workers.engine.window import Row

logger = logging.getLogger(__name__)

# How CUDA, MPS, the CPU and their libraries word it where the exception's class does not say.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


class DeviceFault(Exception):
    """The device is lost to this process: no forward pass will succeed in it any more."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one forward pass gave.

    Attributes:
        rows: The rows that were in it.
        outputs: For each row its output, or the error that it alone is to blame for.
        seconds: How long it took.
    """

    rows: Sequence[Row]
    outputs: Sequence[Any]
    seconds: float


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that the device's memory did not suffice."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def is_device_fault(error: BaseException) -> bool:
    """Tell whether an exception means that the process can use its device no longer.

    After an illegal access or a failed assertion on a GPU, CUDA answers every call with the same
    error until the process ends.
    """
    if is_out_of_memory(error):
        return False
    return type(error).__name__ == "AcceleratorError" or str(error).startswith("CUDA error:")


def run(
    model: WarmModel,
    rows: Sequence[Row],
    ended: Callable[[Sequence[Row]], list[bool]],
    overflowed: Callable[[Sequence[Row]], None],
    follow: Callable[[Sequence[Row]], Sequence[Follow | None]] = lambda _: (),
) -> Iterator[Pass]:
    """Run rows of one kind, together if that works, in halves if it does not.

    A fault in a batch of B costs at most 2·log2 B further passes for one guilty row. A batch that
    does not fit into memory is halved as well, and nobody is blamed but a row that does not fit
    alone.

    Args:
        model: The rows' model.
        rows: At least one row.
        ended: Says, between two steps of a pass, which of its rows need not go on.
        overflowed: Is told of rows that did not fit into memory together.
        follow: Says who follows the texts of rows while they grow.

    Yields:
        The passes that succeeded, and one for each row that failed alone.

    Raises:
        DeviceFault: The process has to end; its jobs run again elsewhere, each alone.
    """
    began = time.monotonic()
    fault: Exception
    try:
        chunks = [row.chunk for row in rows]
        outputs = model.forward(chunks, lambda: ended(rows), follow(rows))
        if len(outputs) != len(rows):
            raise RuntimeError(f"{len(rows)} rows went in, {len(outputs)} outputs came out")
    except Exception as error:  # noqa: BLE001 - whatever a model raises, the others go on
        fault = error
    else:
        yield Pass(rows, outputs, time.monotonic() - began)
        return
    if is_device_fault(fault):
        raise DeviceFault(
            f"{type(fault).__name__} in a forward pass of {len(rows)} rows"
        ) from fault
    # Outside the handler: its traceback would keep the failed pass's tensors in memory.
    if len(rows) > 1:
        if is_out_of_memory(fault):
            overflowed(rows)
        middle = len(rows) // 2
        del fault
        yield from run(model, rows[:middle], ended, overflowed, follow)
        yield from run(model, rows[middle:], ended, overflowed, follow)
    else:
        blamed = _blame(fault, rows[0])
        del fault
        yield Pass(rows, [blamed], time.monotonic() - began)


def _blame(fault: Exception, row: Row) -> StokerError:
    if isinstance(fault, StokerError):
        return fault
    if is_out_of_memory(fault):
        return OutOfMemory(
            "the job does not fit into the device's memory, even alone: make its inputs shorter "
            "or smaller, or send it to a pool with a larger device",
            {"length": row.chunk.length},
        )
    log_fault(logger, "the forward pass failed for a job that ran alone", fault)
    return Internal(f"the forward pass failed: {type(fault).__name__}: {fault}")
