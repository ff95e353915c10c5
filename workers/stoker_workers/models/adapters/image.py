"""The tasks whose model looks at an image in one pass."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages
from stoker_workers.models.adapters.collate import stack
from stoker_workers.models.media import decode_image, read_bytes


class ImageClassifier(Adapter):
    """image-classification."""

    # Most image models read patches of 16 by 16 pixels as one token each.
    token_size = 256

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        return [decode_image(read_bytes(each, media)) for each in inputs]

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for made in self._preprocessed(value, stages):
            inputs = {n: each for n, each in made.items() if isinstance(each, torch.Tensor)}
            # Never padded: what a convolution sees at a border would change the answer.
            shapes = tuple((name, tuple(inputs[name].shape)) for name in sorted(inputs))
            pixels: torch.Tensor = inputs["pixel_values"]
            yield Row(inputs, int(pixels.shape[-2] * pixels.shape[-1]), shapes)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        batch = self._to_device(stack([chunk.features["inputs"] for chunk in chunks]))
        logits = self._model(**batch).logits.cpu()
        return [{"logits": logits[row : row + 1]} for row in range(len(chunks))]
