"""The tasks whose model says something about an image: what it shows, or an answer."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.nn.functional import pad
from transformers import GenerationConfig
from transformers.generation import StoppingCriteria

from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages, refusing_settings
from stoker_workers.models.adapters.collate import stack
from stoker_workers.models.adapters.halting import halting
from stoker_workers.models.adapters.reading import check_room, reading_of
from stoker_workers.models.device import Device
from stoker_workers.models.media import decode_image, read_bytes

_LIMIT: Final = "limit"
# Which part of a model writes, in the families that have such a part.
_WRITERS: Final = ("text_decoder", "decoder", "language_model")


class Captioner(Adapter):
    """image-to-text."""

    # Most image models read patches of 16 by 16 pixels as one token each.
    token_size = 256

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        writers = (getattr(self._model, part, None) for part in _WRITERS)
        writer = next((part for part in writers if part is not None), None)
        self._held = None if writer is None else reading_of(writer, pipeline.tokenizer).positions

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        return [decode_image(read_bytes(each, media)) for each in inputs]

    def _stages(self, job: Job) -> Stages:
        stages = super()._stages(job)
        settings = self._pipeline._prepare_generate_kwargs(dict(stages.forward))
        effective = self._pipeline._get_set_generation_params(settings)
        # Refuses combinations that `generate` would fail on.
        GenerationConfig(**effective)
        forward = {"settings": settings, "beams": effective.get("num_beams") or 1}
        return Stages(stages.preprocess, forward, stages.postprocess)

    def _shared(self, forward: Mapping[str, Any]) -> Mapping[str, Any]:
        if forward["beams"] > 1:
            return forward
        return {**forward, "settings": {**forward["settings"], "max_new_tokens": None}}

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for made in self._preprocessed(value, stages):
            inputs = {n: each for n, each in made.items() if isinstance(each, torch.Tensor)}
            limit = stages.forward["settings"].get("max_new_tokens")
            prompt = int(inputs["input_ids"].shape[1]) if "input_ids" in inputs else 1
            check_room(prompt, limit or 0, self._held)
            # A job waits for the longest of its batch: at most about twice as long as by itself.
            steps = None if limit is None else limit.bit_length()
            # Neither images nor prompts are padded: none of these models masks both.
            key = (steps, _shapes(inputs))
            if limit is not None:
                inputs[_LIMIT] = torch.tensor([limit])
            yield Row(inputs, _points(inputs), key)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        batch = self._to_device(stack([chunk.features["inputs"] for chunk in chunks]))
        settings = dict(chunks[0].features["parameters"]["settings"])
        limits = batch.pop(_LIMIT, None)
        ends = None if limits is None else _Limits(limits)
        if ends is not None:
            settings["max_new_tokens"] = int(ends.rows.max())
        settings["stopping_criteria"] = halting(self._ended, len(chunks), [ends] if ends else [])
        with refusing_settings():
            made = self._pipeline._forward(batch, **settings)
        made = (made if isinstance(made, torch.Tensor) else made.sequences).cpu()
        each = made.shape[0] // len(chunks)
        outputs = []
        for row in range(len(chunks)):
            sequences = made[row * each : (row + 1) * each]
            end = None if ends is None else ends.width + int(ends.rows[row])
            outputs.append({"sequences": sequences[:, :end]})
        return outputs

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        return self._pipeline.postprocess(rows[0]["sequences"], **parameters)


class _Limits(StoppingCriteria):
    """Ends each row at its own limit."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows
        # What stands before the first new token, each model decides for itself.
        self.width = 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.width = self.width or input_ids.shape[1] - 1
        limits = self.rows.repeat_interleave(input_ids.shape[0] // len(self.rows))
        return limits <= input_ids.shape[1] - self.width


def answering_adapter(pipeline: Any, name: str, device: Device) -> Adapter:
    """Choose the adapter of a model that answers about images by how it does."""
    if pipeline.model.can_generate():
        return AnswerWriter(pipeline, name, device)
    return AnswerChooser(pipeline, name, device)


class _Answerer(Adapter):
    """visual-question-answering."""

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._reading = reading_of(self._model, pipeline.tokenizer)

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        return [
            {"image": decode_image(read_bytes(each.image, media)), "question": each.question}
            for each in inputs
        ]

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for made in self._preprocessed(value, stages):
            length = int(made["input_ids"].shape[1])
            self._reading.check_length(length, "or set truncation")
            inputs = {n: each for n, each in made.items() if isinstance(each, torch.Tensor)}
            yield Row(inputs, length + _points(inputs) // Captioner.token_size, self._key(inputs))

    def _key(self, inputs: Mapping[str, torch.Tensor]) -> Hashable:
        """Tell what must be equal to share a pass; by itself, all sizes."""
        return _shapes(inputs)


class AnswerWriter(_Answerer):
    """Models that write an answer, and mask neither question nor image while they do (BLIP)."""

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        rows = [chunk.features["inputs"] for chunk in chunks]
        batch = self._to_device(stack(rows, self._reading.fill))
        halt = halting(self._ended, len(rows))
        made = self._pipeline._forward(batch, stopping_criteria=halt).cpu()
        each = made.shape[0] // len(chunks)
        return [{"made": made[row * each : (row + 1) * each]} for row in range(len(chunks))]

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        return self._pipeline.postprocess(rows[0]["made"], **parameters)


class AnswerChooser(_Answerer):
    """Models that choose among the answers they know (ViLT), with masks for texts and images."""

    def _key(self, inputs: Mapping[str, torch.Tensor]) -> Hashable:
        masked = {"attention_mask", "pixel_mask"} <= inputs.keys()
        return () if masked and self._model.config.model_type == "vilt" else super()._key(inputs)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        rows = _with_equal_images([chunk.features["inputs"] for chunk in chunks])
        batch = self._to_device(stack(rows, self._reading.fill))
        logits = self._model(**batch).logits.cpu()
        return [{"logits": logits[row : row + 1]} for row in range(len(chunks))]


def _with_equal_images(rows: Sequence[Mapping[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
    """Pad images, and their masks, below and to the right to the largest of them."""
    seen = [name for name in rows[0] if name.startswith("pixel_")]
    height = max(row["pixel_values"].shape[-2] for row in rows)
    width = max(row["pixel_values"].shape[-1] for row in rows)
    return [
        {
            **row,
            **{
                n: pad(row[n], (0, width - row[n].shape[-1], 0, height - row[n].shape[-2]))
                for n in seen
            },
        }
        for row in rows
    ]


def _shapes(inputs: Mapping[str, torch.Tensor]) -> Hashable:
    return tuple((name, tuple(inputs[name].shape)) for name in sorted(inputs))


def _points(inputs: Mapping[str, torch.Tensor]) -> int:
    """Count the points of processed images, cut into patches or not: each has three colours."""
    seen = (each for name, each in inputs.items() if name.endswith(("values", "patches")))
    return max((each.numel() // 3 for each in seen), default=1)
