"""The tasks whose model reads a text in one pass: classify, label, fill, vectorise."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from transformers import ZeroShotClassificationPipeline
from transformers.pipelines import PipelineException

from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_workers.models.adapters.base import Row, Stages
from stoker_workers.models.adapters.one_pass import TextAdapter

_Rows = Sequence[Mapping[str, torch.Tensor]]

_TEMPLATE: Final[str] = (
    inspect.signature(ZeroShotClassificationPipeline.preprocess)
    .parameters["hypothesis_template"]
    .default
)


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


class TokenClassifier(TextAdapter):
    """token-classification."""

    own_parameters = frozenset({"truncation"})
    cure = "set stride to read it in overlapping chunks, or set truncation"

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        return [job.inputs] if _is_one_sentence(job) else super()._values(job, media)

    def _shape(self, values: list[Any], job: Job) -> Any:
        return values if _is_one_sentence(job) else super()._shape(values, job)

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        given = job.parameters.given()
        may_cut = given.get("truncation") or given.get("stride") is not None
        for row in super()._rows(value, job, stages):
            if not may_cut and row.length == self._reading.limit:
                # The pipeline cuts without a word.
                words = isinstance(value, list)
                tokens = self._tokenizer(value, is_split_into_words=words)["input_ids"]
                self._reading.check_length(len(tokens), self.cure)
            yield replace(row, kept={**row.kept, "input_ids": row.inputs["input_ids"]})

    def _split(self, output: Any, rows: _Rows) -> list[dict[str, Any]]:
        return [{"logits": logits} for logits in self._by_token(output.logits, rows)]


class MaskFiller(TextAdapter):
    """fill-mask."""

    cure = "or set truncation in tokenizer_kwargs"

    def _stages(self, job: Job) -> Stages:
        stages = super()._stages(job)
        size = self._model.config.get_text_config().vocab_size
        if (stages.postprocess.get("top_k") or 0) > size:
            raise InvalidInput(f"top_k: this model knows {size} tokens", {"limit": size})
        return stages

    def _preprocessed(self, value: Any, stages: Stages) -> Iterator[dict[str, Any]]:
        try:
            yield from super()._preprocessed(value, stages)
        except PipelineException:
            mask = self._tokenizer.mask_token
            raise InvalidInput(
                f"fill-mask: a text has no {mask}, the mask token of this model: write {mask} "
                "where a word is to be filled in, before the place where the text is cut if it is",
                {"mask_token": mask},
            ) from None

    def _row(self, made: dict[str, Any]) -> Row:
        row = super()._row(made)
        return replace(row, kept={"input_ids": row.inputs["input_ids"]})

    def _split(self, output: Any, rows: _Rows) -> list[dict[str, Any]]:
        # Only the masks' scores leave the device: a whole vocabulary for each token is much.
        mask, width = self._tokenizer.mask_token_id, output.logits.shape[1]
        found = [torch.nonzero(row["input_ids"][0] == mask).squeeze(1) for row in rows]
        starts = [
            width - row["input_ids"].shape[1] if self._reading.side == "left" else 0 for row in rows
        ]
        positions = torch.cat([each + start for each, start in zip(found, starts, strict=True)])
        counts = [len(each) for each in found]
        owners = torch.arange(len(rows)).repeat_interleave(torch.tensor(counts))
        scores = output.logits[owners.to(output.logits.device), positions.to(output.logits.device)]
        return [{"logits": _AtMasks(each)} for each in scores.cpu().split(counts)]

    def _shape(self, values: list[Any], job: Job) -> Any:
        return values if isinstance(job.inputs, list) and len(values) > 1 else values[0]


class _AtMasks:
    """The scores at a row's masks, where the pipeline looks them up in those of all tokens."""

    def __init__(self, scores: torch.Tensor) -> None:
        self._scores = scores

    def __getitem__(self, _: Any) -> torch.Tensor:
        return self._scores


class ZeroShotClassifier(TextAdapter):
    """zero-shot-classification: one row for each pair of a text and a label."""

    own_parameters = frozenset({"truncation"})

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for row in super()._rows(value, job, stages):
            if not job.parameters.given().get("truncation"):
                self._check_uncut(value, row, stages)
            yield row

    def _check_uncut(self, value: Any, row: Row, stages: Stages) -> None:
        if row.length == self._reading.limit:
            # The pipeline cuts without a word.
            template = stages.preprocess.get("hypothesis_template", _TEMPLATE)
            hypothesis = template.format(row.kept["candidate_label"])
            tokens = self._tokenizer(value, hypothesis)["input_ids"]
            self._reading.check_length(len(tokens), self.cure)

    def _split(self, output: Any, rows: _Rows) -> list[dict[str, Any]]:
        return [{"logits": logits} for logits in self._whole(output.logits, len(rows))]


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


def _is_one_sentence(job: Job) -> bool:
    """Whether a list input is one text, already split into words."""
    return (
        isinstance(job.inputs, list)
        and bool(job.parameters.given().get("is_split_into_words"))
        and not isinstance(job.inputs[0], list)
    )
