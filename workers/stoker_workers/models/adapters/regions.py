"""The tasks whose model says where in an image something is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, Final

import torch

from stoker_tasks.errors import InvalidInput, Unserved
from stoker_tasks.job import Job
from stoker_tasks.parts import install_words
from stoker_tasks.regions import ZeroShotObjectDetectionParameters
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages
from stoker_workers.models.adapters.collate import rows_of, stack
from stoker_workers.models.adapters.pixels import (
    ImageAdapter,
    as_output,
    bucket,
    points,
    text_tower,
)
from stoker_workers.models.adapters.reading import reading_of
from stoker_workers.models.device import Device
from stoker_workers.models.media import decode_image, read_bytes

_SUBTASKS: Final = ("panoptic", "instance", "semantic")
# They look for each label by itself, and so for many at once in one look at the image.
_SEPARATE_LABELS: Final = frozenset({"owlvit", "owlv2"})


class ObjectDetector(ImageAdapter):
    """object-detection."""

    beside = frozenset({"target_size"})


class Segmenter(ImageAdapter):
    """image-segmentation."""

    def _stages(self, job: Job) -> Stages:
        stages = super()._stages(job)
        processor, wanted = self._pipeline.image_processor, stages.postprocess.get("subtask")
        able = [each for each in _SUBTASKS if hasattr(processor, _method(each))]
        if wanted is not None and wanted not in able:
            raise InvalidInput(
                f"subtask: this model does {' and '.join(able)} segmentation, not {wanted}",
                {"subtasks": able},
            )
        told = self._model.config.model_type == "oneformer"
        if told and wanted != "semantic" and find_spec("torchvision") is None:
            raise Unserved(
                "image-segmentation by OneFormer other than semantic "
                f"{install_words(['torchvision'])}, or set subtask to semantic",
                {"missing": ["torchvision"]},
            )
        return stages


def _method(subtask: str) -> str:
    return f"post_process_{subtask}_segmentation"


class KeypointMatcher(ImageAdapter):
    """keypoint-matching: a row is a pair of images.

    Points are found in the images of all jobs at once, and matched pair by pair: padded to the
    most points of a batch, SuperGlue finds other matches, and LightGlue fails where one pair is
    done after fewer layers than another.
    """

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        pairs = job.inputs if isinstance(job.inputs[0], list) else [job.inputs]
        return [[decode_image(read_bytes(each, media)) for each in pair] for pair in pairs]

    def _row(self, made: Mapping[str, Any]) -> Row:
        row = super()._row(made["model_inputs"])
        return Row(row.inputs, row.length, row.key, {"target_sizes": [made["target_sizes"]]})

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        pixels = self._batch(chunks)["pixel_values"]
        detector = getattr(self._model, "keypoint_detector", None)
        # Models without one find and match points in one go.
        found = detector(pixels.flatten(0, 1))[:4] if detector else None
        outputs = []
        for row in range(len(chunks)):
            pair = pixels[row : row + 1]
            with _answering(detector, found, row) if found else nullcontext():
                outputs += [dict(row) for row in rows_of(self._model(pixel_values=pair), 1)]
        return outputs

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        made = {"model_outputs": as_output(rows[0]), "target_sizes": rows[0]["target_sizes"]}
        return self._pipeline.postprocess(made, **parameters)

    def _shape(self, values: list[Any], job: Job) -> Any:
        # As the pipeline does: a list of one pair is a pair.
        return values if len(values) > 1 else values[0]


@contextmanager
def _answering(detector: Any, found: Sequence[torch.Tensor], row: int) -> Iterator[None]:
    """Let a detector of points answer with what it found in a pair's images before."""
    own = [each[2 * row : 2 * row + 2] for each in found]
    most = int(own[-1].sum(dim=1).max())
    detector.forward = lambda *_, **__: tuple(each[:, :most] for each in own)
    try:
        yield
    finally:
        del detector.forward


def zero_shot_detector(pipeline: Any, name: str, device: Device) -> Adapter:
    """Choose the adapter of a model that looks for what a job names."""
    if pipeline.model.config.model_type in _SEPARATE_LABELS:
        return LabelDetector(pipeline, name, device)
    return PhraseDetector(pipeline, name, device)


class PhraseDetector(ImageAdapter):
    """zero-shot-object-detection: one row for each pair of an image and a label."""

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._reading = reading_of(text_tower(self._model), pipeline.tokenizer)

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        # The pipeline would process the image anew for each label.
        image = dict(self._processed(value))
        size = torch.tensor([[value.height, value.width]], dtype=torch.int32)
        for label in _labels_of(job):
            inputs = {**self._read(label), **image}
            kept = {"target_size": size, "candidate_label": label}
            length = points(image["pixel_values"])
            # Texts of different length are not padded: these models read them in their own ways.
            yield Row(inputs, length, bucket(inputs), kept)

    def _processed(self, image: Any) -> Any:
        made = self._pipeline.image_processor(image, return_tensors="pt")
        return made.to(self._pipeline.dtype)

    def _read(self, label: str) -> dict[str, torch.Tensor]:
        text = dict(self._pipeline.tokenizer(label, return_tensors="pt"))
        self._reading.check_length(int(text["input_ids"].shape[1]), "it is one of candidate_labels")
        return text

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        return self._pipeline.postprocess(rows, **parameters)


class LabelDetector(PhraseDetector):
    """zero-shot-object-detection: one row for each image, with all labels of its job."""

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        image = dict(self._processed(value))
        labels = _labels_of(job)
        texts = stack([self._read(label) for label in labels], self._reading.fill)
        length = points(image["pixel_values"]) + texts["input_ids"].numel() * self.token_size
        size = torch.tensor([[value.height, value.width]], dtype=torch.int32)
        kept = {"target_size": size, "candidate_labels": labels}
        yield Row({**texts, **image}, length, bucket(image), kept)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        rows = [chunk.features["inputs"] for chunk in chunks]
        texts = [{name: row[name] for name in row if name != "pixel_values"} for row in rows]
        batch = {"pixel_values": torch.cat([row["pixel_values"] for row in rows])}
        batch |= _equally_many(texts, self._reading.fill)
        output = self._model(**self._to_device(batch))
        found = {"logits": output.logits, "pred_boxes": output.pred_boxes}
        return [dict(row) for row in rows_of(found, len(rows))]

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        (row,) = rows
        labelled = [
            {
                "target_size": row["target_size"],
                "candidate_label": label,
                "logits": row["logits"][:, :, column : column + 1],
                "pred_boxes": row["pred_boxes"],
            }
            for column, label in enumerate(row["candidate_labels"])
        ]
        return super()._finish(labelled, job, parameters)


def _labels_of(job: Job) -> list[str]:
    assert isinstance(job.parameters, ZeroShotObjectDetectionParameters)
    labels = job.parameters.candidate_labels
    return labels.split(",") if isinstance(labels, str) else labels


def _equally_many(
    texts: Sequence[Mapping[str, torch.Tensor]], fill: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """Stack the labels of several images, giving each image as many: the model counts on that."""
    most = max(text["input_ids"].shape[0] for text in texts)
    labels = []
    for text in texts:
        count = text["input_ids"].shape[0]
        each = [{name: part[row : row + 1] for name, part in text.items()} for row in range(count)]
        # A label that begins with the token 0 is none.
        none = {**each[0], "input_ids": torch.zeros_like(each[0]["input_ids"])}
        labels += [*each, *[none] * (most - count)]
    return stack(labels, fill)
