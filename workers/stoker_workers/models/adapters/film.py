"""The task whose model watches a film: some of its frames, in one pass."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

import numpy as np
import torch
from transformers.modeling_outputs import ImageClassifierOutput

from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages
from stoker_workers.models.adapters.collate import stack
from stoker_workers.models.containers import FILM_SECONDS, decode_film
from stoker_workers.models.device import Device
from stoker_workers.models.media import read_bytes

# These know so many places in time as they were trained on.
_FIXED: Final = frozenset({"videomae", "vivit", "vjepa2"})


class FilmClassifier(Adapter):
    """video-classification."""

    # Most models read patches of 16 by 16 pixels, of two frames at once, as one token each.
    token_size = 512

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        # There is no tokenizer, and films are decoded while rows are made.
        self._tokenizer_lock = nullcontext()

    def is_slow(self, job: Job) -> bool:
        """Say whether there is a film to be decoded: always."""
        return True

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        end_by = time.monotonic() + FILM_SECONDS
        return [(read_bytes(each, media), end_by) for each in inputs]

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        data, end_by = value
        made = self._processed(decode_film(data, self._wanted(stages.preprocess), end_by))
        inputs = {name: each for name, each in made.items() if isinstance(each, torch.Tensor)}
        shapes = tuple((name, tuple(inputs[name].shape)) for name in sorted(inputs))
        yield Row(inputs, inputs["pixel_values"].numel() // 3, shapes)

    def _wanted(self, given: Mapping[str, Any]) -> list[int]:
        """List the frames that the model looks at, as the pipeline chooses them."""
        config = self._model.config
        trained = getattr(config, "num_frames", None) or config.frames_per_clip
        count = int(given.get("num_frames") or trained)
        if config.model_type in _FIXED and count != trained:
            raise InvalidInput(
                f"this model looks at {trained} frames: leave num_frames out", {"wanted": trained}
            )
        last = count * given.get("frame_sampling_rate", 1) - 1
        return [int(number) for number in np.linspace(0, last, num=count, dtype=np.int64)]

    def _processed(self, frames: list[Any]) -> Mapping[str, Any]:
        pipeline = self._pipeline
        if pipeline.video_processor is None:
            made = pipeline.image_processor(frames, return_tensors="pt")
        else:
            # The frames are chosen already.
            film = np.stack(frames)
            made = pipeline.video_processor(film, do_sample_frames=False, return_tensors="pt")
        return {
            name: each.to(pipeline.dtype) if torch.is_floating_point(each) else each
            for name, each in made.items()
            if isinstance(each, torch.Tensor)
        }

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        batch = self._to_device(stack([chunk.features["inputs"] for chunk in chunks]))
        logits = self._model(**batch).logits.cpu()
        return [{"logits": logits[row : row + 1]} for row in range(len(chunks))]

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        return self._pipeline.postprocess(ImageClassifierOutput(**rows[0]), **parameters)
