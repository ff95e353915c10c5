"""The tasks whose model looks at an image and tells something about all of it, or remakes it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from PIL import Image

from stoker_tasks.errors import InvalidInput
from stoker_tasks.image import ZeroShotImageClassificationParameters
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Row, Stages
from stoker_workers.models.adapters.collate import rows_of
from stoker_workers.models.adapters.labels import own_scores, stack_with_labels, with_labels
from stoker_workers.models.adapters.pixels import ImageAdapter, as_output, text_tower
from stoker_workers.models.adapters.reading import reading_of
from stoker_workers.models.device import Device

_MAX_REASON: Final = 300


class ImageClassifier(ImageAdapter):
    """image-classification."""


class ImageEnhancer(ImageAdapter):
    """image-to-image."""


class ImageFeatureExtractor(ImageAdapter):
    """image-feature-extraction."""

    def _stages(self, job: Job) -> Stages:
        stages = super()._stages(job)
        if stages.postprocess.get("pool") and any(
            "pooler" in n for n in self._model.missing_weights
        ):
            # The pipeline would pool with random numbers.
            raise InvalidInput("this model was not trained to pool its vectors: leave pool out")
        return stages

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        batch = self._batch(chunks)
        try:
            output = self._model(**batch)
        # So models tell that they look at images of another size only.
        except ValueError as error:
            reason = " ".join(str(error).split())[:_MAX_REASON]
            raise InvalidInput(
                f"the model cannot look at images like this: {reason}: set another size in "
                "image_processor_kwargs, or leave it out"
            ) from None
        found = {"vectors": output[0]}
        if output.get("pooler_output") is not None:
            found["pooler_output"] = output["pooler_output"]
        return [dict(row) for row in rows_of(found, len(chunks))]

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        if parameters.get("pool") and "pooler_output" not in rows[0]:
            raise InvalidInput("this model has no pooled output: leave pool out")
        return super()._finish(rows, job, {**parameters, "return_tensors": True})


class DepthEstimator(ImageAdapter):
    """depth-estimation."""

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        # As the pipeline does it, but that it divides by zero where all is equally far away.
        (made,) = self._pipeline.image_processor.post_process_depth_estimation(
            as_output(rows[0]), [rows[0]["target_size"]]
        )
        depth = made["predicted_depth"].numpy()
        span = depth.max() - depth.min()
        grey = (depth - depth.min()) / span if span > 0 else np.zeros_like(depth)
        return {
            "predicted_depth": depth,
            "depth": Image.fromarray((grey * 255).astype(np.uint8)),
        }


class ZeroShotImageClassifier(ImageAdapter):
    """zero-shot-image-classification: the labels of all jobs are read in the same pass."""

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._tokenizer = pipeline.tokenizer
        self._reading = reading_of(text_tower(self._model), self._tokenizer)

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        (made,) = self._preprocessed(value, stages)
        texts = made.pop("text_inputs")[0]
        width = int(texts["input_ids"].shape[1])
        self._reading.check_length(self._uncut(width, job), "and the hypothesis_template")
        row = self._row(made)
        # Without a mask the model would read the padding.
        alike = () if "attention_mask" in texts else width
        length = row.length + texts["input_ids"].numel() * self.token_size
        yield Row(with_labels(row.inputs, texts), length, (row.key, alike), row.kept)

    def _uncut(self, width: int, job: Job) -> int:
        """Count the tokens of the longest label, which the pipeline may cut without a word."""
        if width != self._reading.limit:
            return width
        given = job.parameters
        assert isinstance(given, ZeroShotImageClassificationParameters)
        labels = [given.hypothesis_template.format(label) for label in given.candidate_labels]
        return max(len(tokens) for tokens in self._tokenizer(labels)["input_ids"])

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        rows = [chunk.features["inputs"] for chunk in chunks]
        batch = self._to_device(stack_with_labels(rows, self._reading.fill))
        return own_scores(self._model(**batch).logits_per_image, rows)

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        return self._pipeline.postprocess(rows[0], **parameters)
