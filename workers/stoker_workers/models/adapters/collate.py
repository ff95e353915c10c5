"""Rows of different length become one batch, and a batch's outputs one row each."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, Literal

import torch

Side = Literal["left", "right"]

_UNREAD: Final = ("hidden_state", "attentions")


def stack(
    rows: Sequence[Mapping[str, torch.Tensor]],
    fill: Mapping[str, float] | None = None,
    side: Side = "right",
) -> dict[str, torch.Tensor]:
    """Make one batch of rows, padding the second axis to the longest of them.

    Args:
        rows: For each row the same names, each with a tensor of one row.
        fill: What to pad each name with, where it is not 0.
        side: Where the padding goes.

    Returns:
        For each name one tensor, the rows in their order.
    """
    fill = fill or {}
    return {name: _pad([row[name] for row in rows], fill.get(name, 0), side) for name in rows[0]}


def cut(padded: torch.Tensor, row: int, length: int, side: Side) -> torch.Tensor:
    """Take one row out of a batch's output, without its padding, as a batch of one."""
    values = padded[row : row + 1]
    return values[:, :length] if side == "right" else values[:, values.shape[1] - length :]


def rows_of(output: Mapping[str, Any], count: int, lines: int = 1) -> list[dict[str, torch.Tensor]]:
    """Part a model's output into its rows, on the CPU.

    Args:
        output: The output by its names. Hidden states and attentions, which no pipeline reads of
            a model with a head, stay where they are.
        count: How many rows went in.
        lines: How many lines of the batch each row has: parts of an image, say.

    Returns:
        For each row its part of each tensor, as a batch of its own lines.
    """
    found = {
        name: torch.split(on_cpu(each), lines)
        for name, each in output.items()
        if isinstance(each, torch.Tensor)
        and each.shape[:1] == (count * lines,)
        and not any(word in name for word in _UNREAD)
    }
    return [{name: each[row] for name, each in found.items()} for row in range(count)]


def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Bring an output back from the device, in a number format that numpy knows."""
    halved = tensor.is_floating_point() and tensor.dtype != torch.float64
    return (tensor.float() if halved else tensor).cpu()


def freeze(value: Any) -> Hashable:
    """Give a hashable stand-in of a JSON-like value: equal values, equal stand-ins."""
    if isinstance(value, Mapping):
        return tuple(sorted((name, freeze(one)) for name, one in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(freeze(one) for one in value)
    # `1`, `1.0` and `True` are equal in Python, and not to a model.
    return type(value).__name__, value


def _pad(tensors: Sequence[torch.Tensor], fill: float, side: Side) -> torch.Tensor:
    first = tensors[0]
    if all(tensor.shape == first.shape for tensor in tensors):
        return torch.cat(list(tensors))
    longest = max(tensor.shape[1] for tensor in tensors)
    padded = first.new_full((len(tensors), longest, *first.shape[2:]), fill)
    for row, tensor in enumerate(tensors):
        length = tensor.shape[1]
        start = 0 if side == "right" else longest - length
        padded[row, start : start + length] = tensor[0]
    return padded
