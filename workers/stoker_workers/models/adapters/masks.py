"""The task whose model outlines whatever is in an image, asked about a grid of points."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch

from stoker_tasks.job import Job
from stoker_tasks.regions import MaskGenerationParameters
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Row, Stages
from stoker_workers.models.adapters.pixels import ImageAdapter, bucket, points

_PER_PASS: Final = "points_per_batch"


class MaskGenerator(ImageAdapter):
    """mask-generation: a row is an image or a crop of one.

    Looking at images is what takes long, and is done for many jobs at once. What follows, the
    answer about each point, is done job by job, each with its own thresholds.
    """

    def _stages(self, job: Job) -> Stages:
        stages = super()._stages(job)
        assert isinstance(job.parameters, MaskGenerationParameters)
        forward = {**stages.forward, _PER_PASS: job.parameters.points_per_batch}
        return Stages(stages.preprocess, forward, stages.postprocess)

    def _shared(self, forward: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        wanted, processor = job.parameters, self._pipeline.image_processor
        assert isinstance(wanted, MaskGenerationParameters)
        boxes, grid, crops, labels = processor.generate_crop_boxes(
            value,
            processor.size.get("longest_edge", processor.size.get("height")),
            wanted.crops_n_layers,
            wanted.crop_overlap_ratio,
            wanted.points_per_crop,
            wanted.crop_n_points_downscale_factor,
        )
        made = processor(images=crops, return_tensors="pt").to(self._pipeline.dtype)
        for crop in range(len(crops)):
            here = slice(crop, crop + 1)
            inputs = {
                **{name: each[here] for name, each in made.items()},
                "input_points": grid[:, :, here, :],
                "input_labels": labels[:, :, here],
                "input_boxes": boxes[here],
                "full_image_size": made["original_sizes"][0],
            }
            pixels = inputs["pixel_values"]
            yield Row(inputs, points(pixels), bucket({"pixel_values": pixels}))

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        pixels = torch.cat([chunk.features["inputs"]["pixel_values"] for chunk in chunks])
        seen = self._model.get_image_embeddings(pixels.to(self._device.torch))
        return [
            {"parts": list(self._outlines(chunk, _part(seen, row), row))}
            for row, chunk in enumerate(chunks)
        ]

    def _outlines(self, chunk: Chunk, seen: Any, row: int) -> Iterator[dict[str, Any]]:
        """Ask about a row's points, as many at a time as its job wants, while it is waited for."""
        inputs = self._to_device(chunk.features["inputs"])
        del inputs["pixel_values"]
        grid, labels = inputs.pop("input_points"), inputs.pop("input_labels")
        settings = dict(chunk.features["parameters"])
        step = settings.pop(_PER_PASS) or grid.shape[1]
        # A model for high quality reads what its encoder saw on the way, too.
        if isinstance(seen, tuple):
            known = {"image_embeddings": seen[0], "intermediate_embeddings": seen[1]}
        else:
            known = {"image_embeddings": seen}
        for start in range(0, grid.shape[1], step):
            if self._ended is not None and self._ended()[row]:
                return
            here = slice(start, start + step)
            asked = {"input_points": grid[:, here], "input_labels": labels[:, here]}
            made = self._pipeline._forward(
                {**inputs, **known, **asked, "is_last": False}, **settings
            )
            yield {
                "masks": made["masks"],
                "boxes": made["boxes"].cpu(),
                "iou_scores": made["iou_scores"].float().cpu(),
            }

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        parts = [dict(part) for row in rows for part in row["parts"]]
        return self._pipeline.postprocess(parts, **parameters)


def _part(seen: Any, row: int) -> Any:
    """Take one image's part out of what a model saw in several."""
    if isinstance(seen, torch.Tensor):
        return seen[row : row + 1]
    return type(seen)(_part(each, row) for each in seen)
