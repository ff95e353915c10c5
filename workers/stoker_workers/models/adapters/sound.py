"""What the tasks share whose model listens: sounds at its rate, rows of one shape or masked."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import torch

from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages
from stoker_workers.models.adapters.collate import stack
from stoker_workers.models.media import decode_sounds, read_bytes

# In these, nothing between a frame and what is made of it mixes it with the padding behind the
# sound.
_MASKED: Final = frozenset({"hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm"})
_SAMPLES_PER_FRAME: Final = 320


class SoundAdapter(Adapter):
    """A model that listens."""

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        rate = self._pipeline.feature_extractor.sampling_rate
        return decode_sounds((read_bytes(each, media) for each in inputs), rate)

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for made in self._preprocessed(value, stages):
            inputs = {n: made.pop(n) for n in list(made) if isinstance(made[n], torch.Tensor)}
            yield Row(inputs, self._frames(inputs), self._key(inputs, stages), made)

    def _frames(self, inputs: Mapping[str, torch.Tensor]) -> int:
        main = next(each for name, each in inputs.items() if name != "attention_mask")
        if main.dim() == 2:
            return int(main.shape[1]) // _SAMPLES_PER_FRAME
        mask = inputs.get("attention_mask")
        return int(max(main.shape[1:]) if mask is None else mask.shape[-1])

    def _key(self, inputs: Mapping[str, torch.Tensor], stages: Stages) -> Hashable:
        """Tell what must be equal to share a pass; by itself, all shapes: nothing is padded."""
        return tuple((name, tuple(inputs[name].shape)) for name in sorted(inputs))

    def _batch(self, chunks: Sequence[Chunk]) -> dict[str, torch.Tensor]:
        fill = {"input_values": self._pipeline.feature_extractor.padding_value}
        return self._to_device(stack([chunk.features["inputs"] for chunk in chunks], fill))


def is_masked(config: Any) -> bool:
    """Tell whether a model's mask keeps padding out of what it makes of a sound."""
    # A group norm averages over the whole sound, and with it over the padding.
    return (
        config.model_type in _MASKED
        and config.feat_extract_norm == "layer"
        and not getattr(config, "add_adapter", False)
    )
