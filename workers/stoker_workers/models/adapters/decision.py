"""The task whose model decides: a prompt for each question, read where its answer would begin."""

import inspect
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Final

import torch
from transformers.decision.modeling_utils import DecisionMixin, process_scores

from stoker_tasks.errors import InvalidInput, ModelLoadFailed
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages
from stoker_workers.models.adapters.collate import stack
from stoker_workers.models.adapters.reading import reading_of
from stoker_workers.models.device import Device
from stoker_workers.models.media import decode_image, read_bytes
from stoker_workers.models.pipelines.decision import check_head

# What a row has beside the tensors of its prompt.
_OWN: Final = ("marks", "labels", "options", "kinds")
_TEXT: Final = frozenset({"input_ids", "token_type_ids", "mm_token_type_ids"})


class Decider(Adapter):
    """decision."""

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._has_head = isinstance(self._model, DecisionMixin)
        # The part that writes: the places that one for images knows are no limit to a text.
        writer = self._model if self._has_head else self._model.get_decoder()
        self._reading = reading_of(writer, pipeline.tokenizer)
        self._config = pipeline.decision_config
        if not self._has_head:
            check_head(Path(self._model.name_or_path), name)
            forward = inspect.signature(self._model.forward).parameters
            self._keeps = "logits_to_keep" in forward
        reader = pipeline.processor or pipeline.tokenizer
        if self._config.chat_template is None and reader.chat_template is None:
            raise ModelLoadFailed(
                f"{name} has no chat template, in which a question would be asked: give a model "
                "that was trained to chat"
            )

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        values = []
        for each in inputs:
            value = each.model_dump(exclude={"assets"}, exclude_unset=True)
            if each.assets:
                read = {name: read_bytes(asset, media) for name, asset in each.assets.items()}
                value["assets"] = {name: decode_image(data) for name, data in read.items()}
            values.append(value)
        return values

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for question in value["questions"].values():
            self._check_options(question)
        for prompt, questions in self._pipeline.preprocess(value)["prompts"]:
            inputs = {n: each for n, each in prompt.items() if isinstance(each, torch.Tensor)}
            tokens = inputs["input_ids"]
            length = int(tokens.shape[1])
            self._reading.check_length(length, "or ask less at once")
            inputs |= self._of_questions(questions)
            kept = {"input_ids": tokens, "marks": inputs["marks"], "questions": questions}
            yield Row(inputs, length, self._key(inputs, length), kept)

    def _check_options(self, question: Mapping[str, Any]) -> None:
        kind = question["type"]
        most = len(self._config.labels.get(kind) or ascii_uppercase)
        if kind != "noul" and len(question["criteria"]) > most:
            raise InvalidInput(
                f"a question has {len(question['criteria'])} options, and this model tells at most "
                f"{most} apart in one of type {kind}",
                {"limit": most},
            )

    def _of_questions(self, questions: Sequence[Any]) -> dict[str, torch.Tensor]:
        if self._has_head:
            kinds = [question.questions_types.index(question.type) for question in questions]
            options = [len(question.options) for question in questions]
            return {"options": torch.tensor([options]), "kinds": torch.tensor([kinds])}
        found = [self._pipeline.label_token_ids(tuple(each.labels)) for each in questions]
        most = max(map(len, found))
        return {"labels": torch.tensor([[*ids, *[0] * (most - len(ids))] for ids in found])}

    def _key(self, inputs: Mapping[str, torch.Tensor], length: int) -> Hashable:
        if inputs.keys() - {*_TEXT, *_OWN}:
            # Images come in as many shapes as there are models that see.
            return object()
        # A head reads one prompt at a time anyway.
        return None if self._has_head or self._reading.paddable else length

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        rows = [chunk.features["inputs"] for chunk in chunks]
        if self._has_head:
            return [{"scores": self._score(row)} for row in rows]
        prompts = [{n: each for n, each in row.items() if n not in _OWN} for row in rows]
        for prompt in prompts:
            prompt["attention_mask"] = torch.ones_like(prompt["input_ids"])
        alone = len(prompts) == 1
        batch = prompts[0] if alone else stack(prompts, self._reading.fill, "right")
        places = torch.unique(torch.cat([row["marks"] for row in rows])) - 1
        settings = {"logits_to_keep": places.to(self._device.torch)} if self._keeps else {}
        logits = self._model(**self._to_device(batch), use_cache=False, **settings).logits
        outputs = []
        for each, row in zip(logits, rows, strict=True):
            at = row["marks"] - 1
            at = torch.searchsorted(places, at) if self._keeps else at
            # Only the labels' scores leave the device: a whole vocabulary for each is much.
            labels = row["labels"].to(each.device)
            outputs.append({"scores": each[at.to(each.device)].gather(1, labels).cpu()})
        return outputs

    def _score(self, row: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Have a head score the options of one prompt: it reads one at a time."""
        given = self._to_device({n: each for n, each in row.items() if n not in _OWN})
        own = self._to_device({name: row[name] for name in ("marks", "options", "kinds")})
        scores: torch.Tensor = self._model(
            marks=own["marks"][None],
            num_options=own["options"],
            question_type_ids=own["kinds"],
            **given,
        )
        return scores.cpu()

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        found = []
        for row in rows:
            questions, scores = row["questions"], row["scores"]
            counts = [len(question.options) for question in questions]
            if self._has_head:
                parts = scores.split(counts)
            else:
                parts = [each[:count] for each, count in zip(scores, counts, strict=True)]
            found.append(
                process_scores(self._config, row["input_ids"], row["marks"], questions, parts)
            )
        prompts = [(None, row["questions"]) for row in rows]
        return self._pipeline.postprocess({"prompts": prompts, "scores": found})
