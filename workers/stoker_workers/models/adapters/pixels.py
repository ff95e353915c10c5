"""What the tasks share whose model looks at images: decoding, rows, sizes, splitting."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import torch
from transformers.utils import ModelOutput

from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages
from stoker_workers.models.adapters.collate import rows_of, stack
from stoker_workers.models.media import decode_image, read_bytes

_TEXT_TOWERS: Final = ("text_model", "text_backbone")


class ImageAdapter(Adapter):
    """A model that looks at images in one pass.

    Attributes:
        beside: Tensors of the pipeline's preprocessing that only its postprocessing reads.
    """

    # Most image models read patches of 16 by 16 pixels as one token each.
    token_size = 256

    beside: ClassVar[frozenset[str]] = frozenset()

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        return [decode_image(read_bytes(each, media)) for each in inputs]

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for made in self._preprocessed(value, stages):
            yield self._row(made)

    def _row(self, made: Mapping[str, Any]) -> Row:
        """Part what the model looks at from what goes past it."""
        inputs = {
            name: each
            for name, each in made.items()
            if isinstance(each, torch.Tensor) and name not in self.beside
        }
        kept = {name: each for name, each in made.items() if name not in inputs}
        return Row(inputs, points(inputs["pixel_values"]), bucket(inputs), kept)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        # Some processors cut an image into several of one size.
        lines = chunks[0].features["inputs"]["pixel_values"].shape[0]
        output = self._model(**self._batch(chunks))
        return [dict(row) for row in rows_of(output, len(chunks), lines)]

    def _batch(self, chunks: Sequence[Chunk]) -> dict[str, torch.Tensor]:
        return self._to_device(stack([chunk.features["inputs"] for chunk in chunks]))

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        return super()._finish([as_output(row) for row in rows], job, parameters)


def bucket(inputs: Mapping[str, torch.Tensor]) -> Hashable:
    """Tell which images may share a pass: those of one size, once they are processed.

    None is ever padded to another's size: what a convolution or a window sees at the border
    changes the answer, whatever a mask says.
    """
    return tuple((name, tuple(inputs[name].shape)) for name in sorted(inputs))


def points(pixels: torch.Tensor) -> int:
    """Count the points of processed images, cut into patches or not: each has three colours."""
    return pixels.numel() // 3


def text_tower(model: Any) -> Any:
    """Find the part of a model of images and texts that reads the texts."""
    towers = (part for name, part in model.named_modules() if name.endswith(_TEXT_TOWERS))
    return next(towers, model)


def as_output(row: Mapping[str, Any]) -> Any:
    """Give what belongs to a row the form of a model's output, as pipelines read it."""
    output = ModelOutput()
    for name, value in row.items():
        output[name] = value
    return output
