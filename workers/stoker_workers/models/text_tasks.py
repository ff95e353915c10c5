"""The tasks whose model reads a text in one pass: classify, label, fill, vectorise."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stoker_tasks.job import Job
from stoker_workers.models.text_adapter import TextAdapter

_Rows = Sequence[Mapping[str, torch.Tensor]]


class TextClassifier(TextAdapter):
    """text-classification."""

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        values = super()._values(job, media)
        return [value if isinstance(value, str) else value.model_dump() for value in values]

    def _split(self, output: Any, rows: _Rows) -> list[dict[str, Any]]:
        return [{"logits": logits} for logits in self._whole(output.logits, len(rows))]

    def _shape(self, values: list[Any], job: Job) -> Any:
        if isinstance(job.inputs, str) and "top_k" not in job.parameters.model_fields_set:
            return values
        return super()._shape(values, job)


class FeatureExtractor(TextAdapter):
    """feature-extraction, with pooling and normalising of Stoker's own."""

    own_parameters = frozenset({"pooling", "normalize"})

    def _split(self, output: Any, rows: _Rows) -> list[dict[str, Any]]:
        return [{"vectors": vectors} for vectors in self._by_token(output[0], rows)]

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        vectors: torch.Tensor = rows[0]["vectors"].float()
        own = job.parameters.given()
        if own.get("pooling") == "mean":
            vectors = vectors.mean(dim=1)[0]
        elif own.get("pooling") == "cls":
            vectors = vectors[0, 0]
        if own.get("normalize"):
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return vectors

    def _shape(self, values: list[Any], job: Job) -> Any:
        # One vector each makes one array of them all.
        if isinstance(job.inputs, list) and values[0].dim() == 1:
            return torch.stack(values)
        return super()._shape(values, job)
