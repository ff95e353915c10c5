"""The tasks whose model sorts sounds: into its own classes, or into those of the job."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import numpy as np
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from stoker_tasks.errors import ModelLoadFailed
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Row, Stages
from stoker_workers.models.adapters.labels import own_scores, stack_with_labels, with_labels
from stoker_workers.models.adapters.reading import reading_of
from stoker_workers.models.adapters.sound import SoundAdapter, is_masked
from stoker_workers.models.device import Device


class AudioClassifier(SoundAdapter):
    """audio-classification."""

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._paddable = is_masked(self._model.config)

    def _key(self, inputs: Mapping[str, torch.Tensor], stages: Stages) -> Hashable:
        if self._paddable and "attention_mask" in inputs:
            return ()
        return super()._key(inputs, stages)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        logits = self._model(**self._batch(chunks)).logits.cpu()
        return [{"logits": logits[row : row + 1]} for row in range(len(chunks))]

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        return self._pipeline.postprocess(SequenceClassifierOutput(**rows[0]), **parameters)


class ZeroShotAudioClassifier(SoundAdapter):
    """zero-shot-audio-classification: the labels of all jobs are read in the same pass."""

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        if not hasattr(self._model, "get_audio_features"):
            raise ModelLoadFailed(
                f"{name} is a {self._model.config.model_type} model, which does not compare sounds "
                "with texts: give a model such as CLAP"
            )
        self._reading = reading_of(self._model, pipeline.tokenizer)

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        with _drawing_by(value):
            (made,) = self._preprocessed(value, stages)
        texts = made.pop("text_inputs")[0]
        self._reading.check_length(texts["input_ids"].shape[1], "and the hypothesis_template")
        heard = {name: each for name, each in made.items() if isinstance(each, torch.Tensor)}
        kept = {"candidate_labels": made["candidate_labels"]}
        inputs = with_labels(heard, texts)
        yield Row(inputs, self._frames(heard), self._key(heard, stages), kept)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        rows = [chunk.features["inputs"] for chunk in chunks]
        batch = self._to_device(stack_with_labels(rows, self._reading.fill))
        return own_scores(self._model(**batch).logits_per_audio, rows)


@contextmanager
def _drawing_by(samples: "np.ndarray[Any, Any]") -> Iterator[None]:
    """Let CLAP, which hears a random part of a long sound, draw the same one for the same sound."""
    before = np.random.get_state()
    np.random.seed(crc32(samples.tobytes()))
    try:
        yield
    finally:
        np.random.set_state(before)
