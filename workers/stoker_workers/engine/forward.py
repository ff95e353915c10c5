"""Runs one batch through a model, so that a fault reaches only the job whose fault it is."""

import logging
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stoker_tasks.errors import Internal, OutOfMemory, StokerError
from stoker_workers.engine.faults import log_fault
from stoker_workers.engine.model import Follow, WarmModel
from stoker_workers.engine.window import Row

logger = logging.getLogger(__name__)

# How the devices and their libraries word it where the exception's class does not say.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|(can't allocate|not enough) memory|ALLOC_?FAILED|std::bad_alloc"
    # Of MPS, for what is larger than any buffer may be: with a size and nothing to compare it to.
    r"|Invalid buffer size: [\d.]+ ?([KMGT]i?B|bytes)",
    re.IGNORECASE,
)

# How the runtimes and drivers of GPUs, Triton and the libraries begin to say it. No more than the
# beginning is read: further on, a message may quote what a caller sent.
_DEVICE_FAULT = re.compile(
    r"(CUDA|HIP) (driver )?error( code)?:|Triton Error \[(CUDA|HIP)\]:"
    r"|cu\w+( Frontend)? error: \w+_(EXECUTION_FAILED|EXEC_FAILED|INTERNAL_ERROR|MAPPING_ERROR)"
    r"|miopenStatus(Internal|Unknown)Error",
    re.IGNORECASE,
)

# What they say of a call that they refuse. It leaves the device as it was, and one that is lost
# nevertheless says so when it is next called.
_REFUSED_CALL = re.compile(
    r"invalid (configuration )?argument|no kernel image|NOT_SUPPORTED|INVALID_VALUE|BAD_PARAM",
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
    error until the process ends: so says its runtime API of `cudaErrorIllegalAddress`.
    """
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    says, _, _ = str(error).partition("\n")
    if _REFUSED_CALL.search(says):
        return False
    return type(error).__name__ == "AcceleratorError" or bool(_DEVICE_FAULT.match(says))


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

    Nor is a row blamed for an output that is an error, such as numbers that are none: its padding
    or a neighbour may have spoiled it. The others keep their outputs, and it is run again: one
    further pass for one such row, at most 2k - 1 for k of them. Where all rows of a pass have such
    outputs, it counts as a fault.

    Args:
        model: The rows' model.
        rows: At least one row.
        ended: Says, between two steps of a pass, which of its rows need not go on.
        overflowed: Is told of rows that did not fit into memory together.
        follow: Says who follows the texts of rows while they grow.

    Yields:
        The passes that succeeded, without the rows that are run again, and one for each row that
        failed alone.

    Raises:
        DeviceFault: The process has to end; its jobs run again elsewhere, each alone.
    """
    yield from _Trial(model, ended, overflowed, follow).run(rows)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What all passes of one batch have in common."""

    model: WarmModel
    ended: Callable[[Sequence[Row]], list[bool]]
    overflowed: Callable[[Sequence[Row]], None]
    follow: Callable[[Sequence[Row]], Sequence[Follow | None]]

    def run(self, rows: Sequence[Row]) -> Generator[Pass, None, bool]:
        """Run rows together, and apart where that fails; True if nothing failed."""
        began = time.monotonic()
        fault: Exception
        try:
            chunks = [row.chunk for row in rows]
            outputs = self.model.forward(chunks, lambda: self.ended(rows), self.follow(rows))
            if len(outputs) != len(rows):
                raise RuntimeError(f"{len(rows)} rows went in, {len(outputs)} outputs came out")
        except Exception as error:  # noqa: BLE001 - whatever a model raises, the others go on
            fault = error
        else:
            return (yield from self._sort(rows, outputs, time.monotonic() - began))
        if is_device_fault(fault):
            raise DeviceFault(
                f"{type(fault).__name__} in a forward pass of {len(rows)} rows"
            ) from fault
        # Outside the handler: its traceback would keep the failed pass's tensors in memory.
        if len(rows) > 1:
            too_large = is_out_of_memory(fault)
            del fault
            if too_large:
                self.overflowed(rows)
            # Two halves may well fit where the whole did not.
            yield from self._halve(rows, guilty=not too_large)
        else:
            blamed = _blame(fault, rows[0])
            del fault
            yield Pass(rows, [blamed], time.monotonic() - began)
        return False

    def _sort(
        self, rows: Sequence[Row], outputs: Sequence[Any], seconds: float
    ) -> Generator[Pass, None, bool]:
        """Keep a pass's outputs, but run those rows again that have errors for them."""
        spoiled = [isinstance(output, StokerError) for output in outputs]
        if len(rows) == 1 or not any(spoiled):
            yield Pass(rows, outputs, seconds)
            return not any(spoiled)
        again = [row for row, bad in zip(rows, spoiled, strict=True) if bad]
        if len(again) == len(rows):
            yield from self._halve(again, guilty=True)
            return False
        kept = [at for at, bad in enumerate(spoiled) if not bad]
        yield Pass([rows[at] for at in kept], [outputs[at] for at in kept], seconds)
        yield from self.run(again)
        return False

    def _halve(self, rows: Sequence[Row], *, guilty: bool) -> Iterator[Pass]:
        """Run rows in halves, where one of the rows is guilty or all were too large together."""
        middle = len(rows) // 2
        succeeded = yield from self.run(rows[:middle])
        rest = rows[middle:]
        if guilty and succeeded and len(rest) > 1:
            # All of the rest together would only fail again.
            yield from self._halve(rest, guilty=True)
        else:
            yield from self.run(rest)


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
