"""The task whose model marks where in a text a question is answered."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stoker_tasks.job import Job
from stoker_workers.models.adapters.one_pass import TextAdapter


class AnswerFinder(TextAdapter):
    """question-answering: one row for each chunk of a text."""

    cure = "or set max_seq_len"

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        return [each.model_dump() for each in super()._values(job, media)]

    def _shape(self, values: list[Any], job: Job) -> Any:
        return values if len(values) > 1 else values[0]

    def _split(
        self, output: Any, rows: Sequence[Mapping[str, torch.Tensor]]
    ) -> list[dict[str, Any]]:
        starts = self._by_token(output.start_logits, rows)
        ends = self._by_token(output.end_logits, rows)
        return [{"start": start, "end": end} for start, end in zip(starts, ends, strict=True)]
