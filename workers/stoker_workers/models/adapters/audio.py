"""The task whose model writes down speech: frame by frame, or by generating text."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import torch
from transformers.pipelines.automatic_speech_recognition import rescale_stride

from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages, refusing_settings
from stoker_workers.models.adapters.collate import cut
from stoker_workers.models.adapters.halting import halting
from stoker_workers.models.adapters.sound import SoundAdapter, is_masked
from stoker_workers.models.device import Device


def speech_adapter(pipeline: Any, name: str, device: Device) -> Adapter:
    """Choose the adapter of a speech model by how it decodes."""
    if pipeline.type == "ctc":
        return FrameRecognizer(pipeline, name, device)
    if pipeline.type == "seq2seq_whisper":
        return WhisperRecognizer(pipeline, name, device)
    return SpeechGenerator(pipeline, name, device)


class SpeechRecognizer(SoundAdapter):
    """automatic-speech-recognition."""

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        rows = list(super()._rows(value, job, stages))
        if not rows:
            raise InvalidInput("the sound is shorter than stride_length_s: set a smaller one")
        return rows


class FrameRecognizer(SpeechRecognizer):
    """Models that give a letter for each frame of the sound (CTC)."""

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._paddable = is_masked(self._model.config)

    def _shared(self, forward: Mapping[str, Any]) -> Mapping[str, Any]:
        # Timestamps are read off the frames afterwards, and nothing is generated.
        return {}

    def _key(self, inputs: Mapping[str, torch.Tensor], stages: Stages) -> Hashable:
        return () if self._paddable else super()._key(inputs, stages)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        tokens = self._model(**self._batch(chunks)).logits.argmax(dim=-1).cpu()
        return [
            {"tokens": cut(tokens, row, self._own_frames(chunk, tokens.shape[1]), "right")}
            for row, chunk in enumerate(chunks)
        ]

    def _own_frames(self, chunk: Chunk, frames: int) -> int:
        if not self._paddable:
            return frames
        samples = chunk.features["inputs"]["input_values"].shape[1]
        return int(self._model._get_feat_extract_output_lengths(samples))

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        for row in rows:
            if row.get("stride") is not None:
                ratio = 1 / self._pipeline._align_to
                row["stride"] = rescale_stride([row["stride"]], ratio)[0]
        return super()._finish(rows, job, parameters)


class SpeechGenerator(SpeechRecognizer):
    """Models that generate text, of any other kind than Whisper."""

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        parameters = chunks[0].features["parameters"]
        batch = {**self._batch(chunks), "is_last": True}
        halt = halting(self._ended, len(chunks))
        with refusing_settings():
            tokens = self._pipeline._forward(batch, **parameters, stopping_criteria=halt)[
                "tokens"
            ].cpu()
        each = tokens.shape[0] // len(chunks)
        return [{"tokens": tokens[row * each : (row + 1) * each]} for row in range(len(chunks))]


class WhisperRecognizer(SpeechRecognizer):
    """Whisper, whose sounds all have one length: padded to it, or cut into chunks of it."""

    # Its encoder makes one token of two frames.
    token_size = 2

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for row in super()._rows(value, job, stages):
            extractor = self._pipeline.feature_extractor
            if self._is_long(row.inputs) and self._gives_no_times(stages):
                seconds = row.length * extractor.hop_length / extractor.sampling_rate
                raise InvalidInput(
                    f"the sound has {seconds:.1f} seconds and this model hears at most "
                    f"{extractor.chunk_length} at once: set return_timestamps, or chunk_length_s",
                    {"seconds": seconds, "limit": extractor.chunk_length},
                )
            yield row

    def _gives_no_times(self, stages: Stages) -> bool:
        by_default = getattr(self._model.generation_config, "return_timestamps", None)
        return not stages.forward.get("return_timestamps") and by_default is False

    def _is_long(self, inputs: Mapping[str, torch.Tensor]) -> bool:
        limit: int = self._pipeline.feature_extractor.nb_max_frames
        return inputs["input_features"].shape[-1] > limit

    def _key(self, inputs: Mapping[str, torch.Tensor], stages: Stages) -> Hashable:
        # The times of words are aligned over all tokens of a batch, so that neighbours would move
        # them; a long sound is worked through piece by piece, each as long as the model likes.
        if stages.forward.get("return_timestamps") == "word" or self._is_long(inputs):
            return uuid4().hex
        return super()._key(inputs, stages)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        wanted = dict(chunks[0].features["parameters"])
        timestamps = wanted.pop("return_timestamps", None)
        language = wanted.pop("return_language", None)
        timestamps = timestamps or getattr(self._model.generation_config, "return_timestamps", None)
        if timestamps:
            wanted["return_timestamps"] = True
        if timestamps == "word":
            wanted["return_token_timestamps"] = True
        # Segments hold the language's token, which the sequences lack.
        wanted["return_segments"] = bool(language) or timestamps == "word"
        settings = self._pipeline._prepare_generate_kwargs(wanted)
        batch = self._batch(chunks)
        settings["stopping_criteria"] = halting(self._ended, len(chunks))
        with refusing_settings():
            made = self._model.generate(**batch, **settings)
        made = {"sequences": made} if isinstance(made, torch.Tensor) else made
        return [
            self._row(made, row, words=timestamps == "word", language=bool(language))
            for row in range(len(chunks))
        ]

    def _row(
        self, made: Mapping[str, Any], row: int, *, words: bool, language: bool
    ) -> dict[str, Any]:
        """Take one row out of what `generate` made, as the pipeline's `postprocess` reads it."""
        output: dict[str, Any] = {"tokens": made["sequences"][row : row + 1].cpu()}
        segments = made["segments"][row] if "segments" in made else []
        if words:
            times = [segment["token_timestamps"] for segment in segments]
            output["token_timestamps"] = [
                torch.cat(times).cpu() if times else made["token_timestamps"][row].cpu()
            ]
        if language and segments:
            output |= self._language(segments[0]["result"])
        return output

    def _language(self, result: Any) -> dict[str, Any]:
        sequence = result["sequences"] if isinstance(result, Mapping) else result
        known = set(getattr(self._model.generation_config, "lang_to_id", {}).values())
        spoken = next((token for token in sequence.tolist() if token in known), None)
        return {} if spoken is None else {"lang_id": torch.tensor([spoken])}
