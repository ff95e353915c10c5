"""The tasks whose model reads a text and writes another: summarise, translate, rewrite."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
from transformers import GenerationConfig
from transformers.generation import StoppingCriteria

from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages, generate
from stoker_workers.models.adapters.collate import stack
from stoker_workers.models.adapters.ends import Ends, end_tokens_of, lengths_of
from stoker_workers.models.adapters.growing import (
    Growing,
    GrowingText,
    cleans,
    decoder,
    followed,
)
from stoker_workers.models.adapters.halting import halting
from stoker_workers.models.adapters.reading import reading_of
from stoker_workers.models.device import Device

# What stands before the first new token: the one that every output begins with.
_BEGUN: Final = 1

# Its experts have room for so many tokens of a batch: a neighbour's may leave none for a job's.
_NEIGHBOURS_CHANGE_ANSWERS: Final = frozenset({"nllb-moe"})


class TextRewriter(Adapter):
    """summarization, translation and text2text-generation."""

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._reading = reading_of(self._model, pipeline.tokenizer)
        self._lonely = self._model.config.model_type in _NEIGHBOURS_CHANGE_ANSWERS

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        return job.inputs if isinstance(job.inputs, list) else [job.inputs]

    def _shape(self, values: list[Any], job: Job) -> Any:
        # Where each text has one output, the pipeline gives one list of them all.
        if isinstance(job.inputs, list) and all(len(each) == 1 for each in values):
            return [one for [one] in values]
        return super()._shape(values, job)

    def _stages(self, job: Job) -> Stages:
        stages = super()._stages(job)
        settings = self._pipeline._prepare_generate_kwargs(dict(stages.forward))
        effective = self._pipeline._get_set_generation_params(settings)
        # Refuses combinations that `generate` would fail on.
        GenerationConfig(**effective)
        limit = effective.get("max_new_tokens") or effective["max_length"] - _BEGUN
        self._check_room(limit)
        # It stands in for both below.
        settings.pop("max_length", None)
        beams = effective.get("num_beams") or 1
        forward = {
            "settings": {**settings, "max_new_tokens": limit},
            "greedy": beams == 1,
            # What an output ends with where it is cut, or how far beams are followed.
            "exact_limit": beams > 1 or effective.get("forced_eos_token_id") is not None,
        }
        return Stages(stages.preprocess, forward, stages.postprocess)

    def _check_room(self, limit: int) -> None:
        held = self._reading.positions
        if limit < 1:
            raise InvalidInput("max_length leaves no token to generate: set max_new_tokens")
        if held is not None and limit > held:
            raise InvalidInput(
                f"up to {limit} tokens are to be generated, and this model writes at most {held}: "
                f"set max_new_tokens to at most {held}",
                {"max_new_tokens": limit, "limit": held},
            )

    def _shared(self, forward: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**forward, "settings": {**forward["settings"], "max_new_tokens": None}}

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        forward = stages.forward
        limit: int = forward["settings"]["max_new_tokens"]
        for made in self._preprocessed(value, stages):
            tokens: torch.Tensor = made["input_ids"]
            length = int(tokens.shape[1])
            self._reading.check_length(length, "or set truncation")
            inputs = {"input_ids": tokens, "limit": torch.tensor([limit])}
            inputs["attention_mask"] = made.get("attention_mask", torch.ones_like(tokens))
            language = made.get("forced_bos_token_id")
            if language is not None:
                inputs["language"] = torch.tensor([language])
            yield Row(inputs, length, self._key(length, limit, language, forward))

    def _key(
        self, length: int, limit: int, language: int | None, forward: Mapping[str, Any]
    ) -> Hashable:
        if self._lonely:
            return object()
        # A job waits for the longest of its batch: at most about twice as long as by itself.
        steps = limit if forward["exact_limit"] else limit.bit_length()
        return language, steps, None if self._reading.paddable else length

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        parameters = chunks[0].features["parameters"]
        rows = [chunk.features["inputs"] for chunk in chunks]
        texts = [{name: row[name] for name in ("input_ids", "attention_mask")} for row in rows]
        batch = self._to_device(stack(texts, self._reading.fill, "right"))
        limits = torch.cat([row["limit"] for row in rows])
        settings = {**parameters["settings"], "max_new_tokens": int(limits.max())}
        if "language" in rows[0]:
            settings["forced_bos_token_id"] = int(rows[0]["language"])
        ends = None
        if parameters["greedy"]:
            end_tokens = end_tokens_of(self._model, settings).to(self._device.torch)
            ends = Ends(limits.to(self._device.torch), _BEGUN, end_tokens)
        growing = followed(self._follow, lambda row: self._text(chunks[row]))
        others: list[StoppingCriteria] = [ends] if ends else []
        if ends and growing:
            others.append(Growing(growing, ends, len(rows)))
        settings["stopping_criteria"] = halting(self._ended, len(rows), others)
        sequences = generate(self._model, batch, settings)
        new = sequences[:, _BEGUN:]
        found = ends.lengths if ends else lengths_of(new, end_tokens_of(self._model, settings))
        outputs = _split(sequences, found.cpu(), len(rows))
        for row, text in growing.items():
            text.end(partial(self._new_text, chunks[row], outputs[row]))
        return outputs

    def _text(self, chunk: Chunk) -> GrowingText:
        """Begin the text of a row that somebody follows."""
        # The pipeline leaves these spaces if it is not told otherwise.
        wanted = {"clean_up_tokenization_spaces": False, **chunk.features["postprocess"]}
        tokenizer = self._pipeline.tokenizer
        decode = decoder(tokenizer, wanted)
        return GrowingText(decode, self._tokenizer_lock, cleans=cleans(tokenizer, wanted))

    def _new_text(self, chunk: Chunk, output: Mapping[str, Any]) -> str:
        first = self._pipeline.postprocess(output, **chunk.features["postprocess"])[0]
        return str(first[f"{self._pipeline.return_name}_text"])


def _split(sequences: torch.Tensor, lengths: torch.Tensor, rows: int) -> list[dict[str, Any]]:
    """Give each row its sequences, as long as the longest of them."""
    pairs = zip(sequences.chunk(rows), lengths.chunk(rows), strict=True)
    return [
        {"output_ids": each[:, : _BEGUN + int(count.max())].unsqueeze(0)} for each, count in pairs
    ]
