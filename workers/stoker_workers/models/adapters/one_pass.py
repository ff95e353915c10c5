"""What the tasks share whose model reads a text in one pass: rows, limits, padding, cutting."""

import inspect
from abc import abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch

from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages
from stoker_workers.models.adapters.collate import cut, stack
from stoker_workers.models.adapters.reading import reading_of
from stoker_workers.models.device import Device


class TextAdapter(Adapter):
    """A model that reads texts, and gives for each of them, or for each token, some numbers."""

    # What a caller can do about a text that is too long.
    cure = "or set truncation"

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._tokenizer = pipeline.tokenizer
        self._reading = reading_of(self._model, self._tokenizer)
        forward = inspect.signature(self._model.forward).parameters
        self._settings = {"use_cache": False} if "use_cache" in forward else {}
        self._input_names = {*self._tokenizer.model_input_names, "input_ids"}
        self._takes_mask = "attention_mask" in forward

    def sample(self, length: int) -> Chunk | None:
        """Make a row of so many tokens; what they say does not matter to how long a pass takes."""
        tokens = torch.full((1, length), self._tokenizer.unk_token_id or 0)
        inputs = {"input_ids": tokens}
        if self._takes_mask:
            inputs["attention_mask"] = torch.ones_like(tokens)
        return Chunk({"inputs": inputs, "parameters": {}}, length)

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        return job.inputs if isinstance(job.inputs, list) else [job.inputs]

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for made in self._preprocessed(value, stages):
            row = self._row(made)
            self._reading.check_length(row.length, self.cure)
            yield row

    def _row(self, made: dict[str, Any]) -> Row:
        """Part what the model reads from what goes past it."""
        inputs = {name: made.pop(name) for name in self._input_names & made.keys()}
        tokens = inputs["input_ids"]
        if self._takes_mask:
            inputs.setdefault("attention_mask", torch.ones_like(tokens))
        length = int(tokens.shape[1])
        return Row(inputs, length, self._key(tokens), made)

    def _key(self, tokens: torch.Tensor) -> Hashable:
        if not self._reading.paddable:
            return int(tokens.shape[1])
        if self._model.config.is_encoder_decoder:
            # BART's classifier reads the last end token and wants equally many in all rows.
            return int((tokens == self._model.config.eos_token_id).sum())
        return ()

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        reading = self._reading
        rows = [chunk.features["inputs"] for chunk in chunks]
        batch = self._to_device(stack(rows, reading.fill, reading.side))
        return self._split(self._model(**batch, **self._settings), rows)

    @abstractmethod
    def _split(
        self, output: Any, rows: Sequence[Mapping[str, torch.Tensor]]
    ) -> list[dict[str, Any]]:
        """Give each row its part of the model's output, on the CPU."""

    def _whole(self, values: torch.Tensor, count: int) -> list[torch.Tensor]:
        """Split values that each row has once."""
        values = values.cpu()
        return [values[row : row + 1] for row in range(count)]

    def _by_token(
        self, values: torch.Tensor, rows: Sequence[Mapping[str, torch.Tensor]]
    ) -> list[torch.Tensor]:
        """Split values that each token of a row has, without those of the padding."""
        values = values.cpu()
        return [
            cut(values, index, row["input_ids"].shape[1], self._reading.side)
            for index, row in enumerate(rows)
        ]
