"""The task whose model marks the cells of a table that answer a question."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages
from stoker_workers.models.adapters.collate import cut, stack
from stoker_workers.models.adapters.reading import reading_of
from stoker_workers.models.device import Device

_ROWS_MAY_GO = "drop_rows_to_fit"


class TableReader(Adapter):
    """table-question-answering: one row of a pass for each question about a table."""

    own_parameters = frozenset({"truncation"})

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._tokenizer = pipeline.tokenizer
        self._reading = reading_of(self._model, self._tokenizer)

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        # Only a worker that serves this task has it.
        from pandas import DataFrame

        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        return [
            {
                "table": DataFrame(each.table),
                "query": each.query if isinstance(each.query, list) else [each.query],
            }
            for each in inputs
        ]

    def _shape(self, values: list[Any], job: Job) -> Any:
        return values if len(values) > 1 else values[0]

    def _shared(self, forward: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**forward, "sequential": bool(forward.get("sequential"))}

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        table, queries = value["table"], value["query"]
        own = job.parameters.given().get("truncation")
        truncation = _ROWS_MAY_GO if own in (True, _ROWS_MAY_GO) else "do_not_truncate"
        if stages.forward.get("sequential"):
            yield self._conversation(table, queries, truncation)
            return
        for query in queries:
            inputs = dict(self._read(table, query, truncation))
            length = int(inputs["input_ids"].shape[1])
            key = None if self._reading.paddable else length
            yield Row(inputs, length, key, {"model_inputs": inputs, "table": table})

    def _conversation(self, table: Any, queries: list[str], truncation: str) -> Row:
        """Make one row of all questions, which shares its pass with no other."""
        inputs = dict(self._read(table, queries, truncation))
        length = int(inputs["input_ids"].numel())
        return Row(inputs, length, object(), {"model_inputs": inputs, "table": table})

    def _read(self, table: Any, query: str | list[str], truncation: str) -> Mapping[str, Any]:
        tokens: Mapping[str, Any] = self._tokenizer(
            table, query, return_tensors="pt", truncation=truncation, padding=True
        )
        self._reading.check_length(int(tokens["input_ids"].shape[1]), "or set truncation")
        return tokens

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        rows = [chunk.features["inputs"] for chunk in chunks]
        batch = self._to_device(stack(rows, self._reading.fill, "right"))
        if chunks[0].features["parameters"].get("sequential"):
            outputs = self._pipeline.sequential_inference(**batch)
            return [{"outputs": tuple(each.float().cpu() for each in outputs)}]
        output = self._model(**batch)
        logits = output.logits.float().cpu()
        lengths = [row["input_ids"].shape[1] for row in rows]
        found = [[cut(logits, row, length, "right")] for row, length in enumerate(lengths)]
        if self._pipeline.aggregate:
            ways = output.logits_aggregation.float().cpu().split(1)
            found = [[*each, way] for each, way in zip(found, ways, strict=True)]
        return [{"outputs": each} for each in found]

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        answers = [self._pipeline.postprocess(row, **parameters) for row in rows]
        return answers if len(answers) > 1 else answers[0]
