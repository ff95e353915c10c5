"""The task whose model makes a sound of a text: as a wave, as tokens, or as a spectrogram."""

import inspect
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

import torch

from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages, refusing_settings
from stoker_workers.models.adapters.chats import is_chat, texts_and_chats
from stoker_workers.models.adapters.collate import stack
from stoker_workers.models.adapters.halting import Halted, steppers, watching
from stoker_workers.models.device import Device
from stoker_workers.models.outputs import Sound

_VOICE: Final = "speaker_embeddings"
# Tokenizers without a limit of their own say 10 ** 30.
_NO_LIMIT: Final = 1_000_000


def speaking_adapter(pipeline: Any, name: str, device: Device) -> Adapter:
    """Choose the adapter of a model that makes sounds by how it does."""
    kinds = {"musicgen": MusicMaker, "speecht5": SpectrogramSpeaker}
    return kinds.get(pipeline.model.config.model_type, Speaker)(pipeline, name, device)


class Speaker(Adapter):
    """text-to-audio, with a model that takes each text alone.

    VITS computes a wave through convolutions over the whole batch's longest text, so that the last
    samples of a shorter one would hear the padding; what other kinds do is not known.
    """

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        limits = [
            getattr(pipeline.tokenizer, "model_max_length", None),
            getattr(pipeline.model.config, "max_text_positions", None),
        ]
        self._limit = min((each for each in limits if each and each < _NO_LIMIT), default=None)
        self._fill = {"input_ids": getattr(pipeline.tokenizer, "pad_token_id", None) or 0}

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        return texts_and_chats(job.inputs)

    def _shape(self, values: list[Any], job: Job) -> Any:
        return values[0] if is_chat(job.inputs) else super()._shape(values, job)

    def _stages(self, job: Job) -> Stages:
        stages = super()._stages(job)
        given = {**stages.forward["forward_params"], **stages.forward["generate_kwargs"]}
        known = self._known()
        unknown = [] if known is None else sorted(given.keys() - known)
        if unknown:
            raise InvalidInput(
                f"a {self._model.config.model_type} model takes no {', '.join(unknown)}: leave "
                "that out",
                {"unknown": unknown},
            )
        return stages

    def _known(self) -> frozenset[str] | None:
        """List what the model takes beside the text, if it would ignore what it does not know."""
        if self._model.can_generate():
            return None
        return frozenset(inspect.signature(self._model.forward).parameters)

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for made in self._preprocessed(value, stages):
            inputs = {n: each for n, each in made.items() if isinstance(each, torch.Tensor)}
            length = int(inputs["input_ids"].shape[1])
            if not length:
                raise InvalidInput("the text is empty: give it at least one word")
            if self._limit is not None and length > self._limit:
                raise InvalidInput(
                    f"the text has {length} tokens and this model reads at most {self._limit}: "
                    "cut it into several jobs",
                    {"tokens": length, "limit": self._limit},
                )
            inputs |= self._voice(stages)
            yield Row(inputs, length, self._key(length))

    def _key(self, length: int) -> Hashable:
        return uuid4().hex

    def _voice(self, stages: Stages) -> dict[str, torch.Tensor]:
        """Give what a row of its own has of the parameters."""
        return {}

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        batch = self._to_device(stack([each.features["inputs"] for each in chunks], self._fill))
        try:
            with watching(self._steppers(), self._ended):
                made = self._speak(batch, chunks[0].features["parameters"], len(chunks))
        except Halted:
            return [{} for _ in chunks]
        return [{"made": each} for each in made]

    def _steppers(self) -> Sequence[torch.nn.Module]:
        """List the parts of the model that it calls step by step, if it does."""
        return steppers(self._model)

    def _speak(
        self, batch: Mapping[str, torch.Tensor], parameters: Mapping[str, Any], rows: int
    ) -> Sequence[Any]:
        """Give for each row what the pipeline's `postprocess` reads."""
        with refusing_settings():
            made = self._pipeline._forward(batch, **parameters)
        return _rows_of(made, rows)

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        made = self._pipeline.postprocess(rows[0]["made"])
        rate = int(made["sampling_rate"])
        return {"audio": Sound(made["audio"], rate), "sampling_rate": rate}


class MusicMaker(Speaker):
    """MusicGen, whose text encoder's mask keeps the padding out."""

    def _key(self, length: int) -> Hashable:
        return ()


class SpectrogramSpeaker(Speaker):
    """SpeechT5: speech has a length of its own, and each job its voice."""

    def _key(self, length: int) -> Hashable:
        # How long the speech may become is counted from the padded text.
        return length

    def _known(self) -> frozenset[str] | None:
        return frozenset(inspect.signature(self._model.generate).parameters)

    def _shared(self, forward: Mapping[str, Any]) -> Mapping[str, Any]:
        own = {name: each for name, each in forward["forward_params"].items() if name != _VOICE}
        return {**forward, "forward_params": own}

    def _voice(self, stages: Stages) -> dict[str, torch.Tensor]:
        given = stages.forward["forward_params"].get(_VOICE)
        size = self._model.config.speaker_embedding_dim
        if given is None or len(given) != size:
            raise InvalidInput(
                f"this model speaks with the voice that it is given: set forward_params with "
                f"{_VOICE}, a list of {size} numbers (an x-vector)",
                {"wanted": size, "given": len(given or ())},
            )
        return {_VOICE: torch.tensor([given], dtype=self._model.dtype)}

    def _steppers(self) -> Sequence[torch.nn.Module]:
        return [self._model.speecht5.decoder.wrapped_decoder]

    def _speak(
        self, batch: Mapping[str, torch.Tensor], parameters: Mapping[str, Any], rows: int
    ) -> Sequence[Any]:
        wanted = {**parameters["forward_params"], **parameters["generate_kwargs"]}
        wanted.pop(_VOICE, None)
        settings = self._pipeline._prepare_generate_kwargs(wanted, return_output_lengths=True)
        with refusing_settings():
            made, lengths = self._model.generate(**batch, **settings)
        # One by one: the vocoder's convolutions would hear the padding too.
        return [
            self._pipeline.vocoder(one[:length]) for one, length in zip(made, lengths, strict=True)
        ]


def _rows_of(made: Any, count: int) -> list[Any]:
    """Give each row its part of what a model made."""
    if count == 1:
        return [made]
    if isinstance(made, Mapping):
        parts = {n: _rows_of(each, count) for n, each in made.items() if _is_split(each, count)}
        return [{name: each[row] for name, each in parts.items()} for row in range(count)]
    return list(made.split(made.shape[0] // count))


def _is_split(value: Any, count: int) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape[0] % count == 0
