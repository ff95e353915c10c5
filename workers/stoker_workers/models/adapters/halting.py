"""Ends a sequence that is being generated once nobody waits for it, and spares its neighbours."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers.generation import GenerationMixin, StoppingCriteria, StoppingCriteriaList

from stoker_workers.engine.model import Ended


class _Halt(StoppingCriteria):
    """Ends the sequences of rows that need not go on."""

    def __init__(self, ended: Ended, rows: int) -> None:
        self._ended = ended
        self._rows = rows

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        ended, count = self._ended(), input_ids.shape[0]
        # Sampling and beams have several sequences for each row. A model that goes on with some of
        # its rows only does not say with which: then all end together, or none.
        each, rest = divmod(count, self._rows)
        if rest or not each or not any(ended):
            return torch.full((count,), all(ended), device=input_ids.device)
        return torch.tensor(ended, device=input_ids.device).repeat_interleave(each)


def halting(ended: Ended | None, rows: int, others: Sequence[StoppingCriteria] = ()) -> Any:
    """Give the stopping criteria of a call of `generate`.

    Args:
        ended: Says which rows need not go on; None if nobody does.
        rows: How many rows the call has.
        others: What else ends a sequence.
    """
    return StoppingCriteriaList([*others, *([_Halt(ended, rows)] if ended else [])])


class Halted(Exception):
    """Nobody waits for any row of a pass."""


@contextmanager
def watching(parts: Iterable[torch.nn.Module], ended: Ended | None) -> Iterator[None]:
    """Leave a pass before its next step once none of its rows need go on.

    For what heeds no stopping criteria, or makes nothing of a sequence that was cut short.

    Args:
        parts: The parts of the model that a step begins with.
        ended: Says which rows need not go on; None if nobody does.

    Raises:
        Halted: None needs to. The pass has made nothing.
    """

    def look(*_: Any) -> None:
        if ended is not None and all(ended()):
            raise Halted

    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.register_forward_pre_hook(look).remove)
        yield


def steppers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """List the parts of a model that `generate()` calls at each step, its own or a part's."""
    return [part for part in model.modules() if isinstance(part, GenerationMixin)]
