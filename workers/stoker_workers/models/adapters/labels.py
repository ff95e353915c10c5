"""Labels of many jobs, read in the same pass as what they are compared with."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch

from stoker_workers.models.adapters.collate import on_cpu, stack

_Inputs = Mapping[str, torch.Tensor]

_TEXT: Final = "text."


def with_labels(inputs: _Inputs, texts: _Inputs) -> dict[str, torch.Tensor]:
    """Give a row's inputs with the tokens of its job's labels, one line each, beside them."""
    return {**inputs, **{_TEXT + name: each for name, each in texts.items()}}


def stack_with_labels(
    rows: Sequence[_Inputs], fill: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """Make one batch of rows, and one of the labels of all of them, padded to the longest.

    Args:
        rows: What `with_labels` made.
        fill: What to pad the labels' tokens with.
    """
    others = [{n: each for n, each in row.items() if not n.startswith(_TEXT)} for row in rows]
    return {**stack(others), **stack([each for row in rows for each in _labels(row)], fill)}


def own_scores(logits: torch.Tensor, rows: Sequence[_Inputs]) -> list[dict[str, Any]]:
    """Give each row its own labels' scores: each was compared with the labels of all."""
    counts = [row[_TEXT + "input_ids"].shape[0] for row in rows]
    columns = torch.split(on_cpu(logits), counts, dim=1)
    return [{"logits": own[row : row + 1]} for row, own in enumerate(columns)]


def _labels(row: _Inputs) -> Iterator[dict[str, torch.Tensor]]:
    texts = {n.removeprefix(_TEXT): each for n, each in row.items() if n.startswith(_TEXT)}
    for index in range(texts["input_ids"].shape[0]):
        yield {name: each[index : index + 1] for name, each in texts.items()}
