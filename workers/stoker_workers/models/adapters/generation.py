"""The task whose model continues a text or a chat: many prompts in a pass, each its own end."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation import (
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StopStringCriteria,
)

from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.base import Adapter, Row, Stages, generate
from stoker_workers.models.adapters.chats import is_chat, texts_and_chats
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
from stoker_workers.models.adapters.reading import Reading, check_room, reading_of
from stoker_workers.models.device import Device


class TextGenerator(Adapter):
    """text-generation."""

    # What a caller can do about a prompt that is too long.
    cure = "or set truncation"

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._tokenizer = pipeline.tokenizer
        self._reading = self._read()
        self._stop_tokenizer: Any = None

    def _read(self) -> Reading:
        return reading_of(self._model, self._tokenizer, generates=True)

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        return texts_and_chats(job.inputs)

    def _shape(self, values: list[Any], job: Job) -> Any:
        return values[0] if is_chat(job.inputs) else super()._shape(values, job)

    def _stages(self, job: Job) -> Stages:
        stages = super()._stages(job)
        return Stages(stages.preprocess, self._generating(stages.forward), stages.postprocess)

    def _generating(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Make settings of `generate()` what the rows and the forward pass read of them."""
        wanted = dict(wanted)
        prefix = wanted.pop("prefix_length", 0)
        stops = wanted.pop("stop_strings", None)
        wanted.pop("tokenizer", None)
        settings = self._pipeline._prepare_generate_kwargs(wanted)
        effective = self._pipeline._get_set_generation_params(settings)
        # Refuses combinations that `generate` would fail on.
        GenerationConfig(**effective)
        if stops is not None and self._stop_tokenizer is None:
            # The forward pass reads it while other jobs are tokenised.
            self._stop_tokenizer = copy.deepcopy(self._tokenizer)
        return {
            "settings": settings,
            "stops": stops,
            "beams": effective.get("num_beams") or 1,
            "penalty": effective.get("repetition_penalty") or 1.0,
            # These look at the prompt's tokens in their order, or count them: padding would differ.
            "exact": bool(
                effective.get("no_repeat_ngram_size")
                or effective.get("min_length")
                or effective.get("encoder_no_repeat_ngram_size")
            ),
            "new_tokens": effective.get("max_new_tokens"),
            "all_tokens": effective.get("max_length", 0) + prefix,
        }

    def _shared(self, forward: Mapping[str, Any]) -> Mapping[str, Any]:
        settings = {**forward["settings"]}
        for name in ("max_new_tokens", "max_length"):
            settings.pop(name, None)
        return {**forward, "settings": settings, "new_tokens": None, "all_tokens": None}

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for made in self._preprocessed(value, stages):
            tokens: torch.Tensor = made["input_ids"]
            kept = {"input_ids": tokens, "prompt_text": made["prompt_text"]}
            if tokens.shape[1] == 0:
                tokens = self._begin()
                kept["input_ids"] = None
            yield self._row(tokens, made.get("attention_mask"), kept, stages.forward)

    def _row(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor | None,
        kept: Mapping[str, Any],
        forward: Mapping[str, Any],
    ) -> Row:
        length = int(tokens.shape[1])
        self._reading.check_length(length, self.cure)
        limit = forward["new_tokens"] or forward["all_tokens"] - length
        self._check_room(length, limit)
        if mask is None or mask.shape != tokens.shape:
            mask = torch.ones_like(tokens)
        exact = forward["exact"] or not self._reading.paddable
        # A job waits for the longest of its batch: at most about twice as long as by itself.
        steps = limit if forward["beams"] > 1 else limit.bit_length()
        inputs = {"input_ids": tokens, "attention_mask": mask, "limit": torch.tensor([limit])}
        return Row(inputs, length, (steps, length if exact else None), kept)

    def _begin(self) -> torch.Tensor:
        begin = self._model.generation_config.bos_token_id
        if begin is None:
            raise InvalidInput(
                "the prompt is empty, and this model has no token to begin a text with: give it "
                "at least one word"
            )
        return torch.tensor([[begin]])

    def _check_room(self, prompt: int, limit: int) -> None:
        if limit < 1:
            raise InvalidInput(
                f"the prompt has {prompt} tokens, which leaves none of the model's max_length to "
                "generate: set max_new_tokens",
                {"tokens": prompt},
            )
        check_room(prompt, limit, self._reading.positions)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        parameters = chunks[0].features["parameters"]
        rows = [chunk.features["inputs"] for chunk in chunks]
        limits = [int(row["limit"]) for row in rows]
        batch = self._to_device(self._batch(rows))
        width = batch["input_ids"].shape[1]
        settings = {**parameters["settings"], "max_new_tokens": max(limits)}
        # The rows' limits have heeded it, and `generate` warns of two limits.
        settings.pop("max_length", None)
        if parameters["penalty"] != 1.0:
            settings["repetition_penalty"] = 1.0
            penalty = _RepetitionPenalty(parameters["penalty"], batch["attention_mask"])
            settings["logits_processor"] = LogitsProcessorList([penalty])
        ends = None
        if parameters["beams"] == 1:
            ends = self._ends(parameters["stops"], limits, width)
        elif parameters["stops"] is not None:
            settings |= {"stop_strings": parameters["stops"], "tokenizer": self._stop_tokenizer}
        texts = followed(self._follow, lambda row: self._text(chunks[row]))
        others: list[StoppingCriteria] = [ends] if ends else []
        if ends and texts:
            others.append(Growing(texts, ends, len(rows)))
        settings["stopping_criteria"] = halting(self._ended, len(rows), others)
        sequences = generate(self._model, batch, settings)
        new = sequences[:, width:]
        lengths = ends.lengths.cpu() if ends else lengths_of(new, end_tokens_of(self._model))
        prompts = [row["input_ids"].shape[1] for row in rows]
        outputs = self._split(sequences, width, lengths, prompts)
        for row, text in texts.items():
            text.end(partial(self._new_text, chunks[row], outputs[row]))
        return outputs

    def _text(self, chunk: Chunk) -> GrowingText:
        """Begin the text of a row that somebody follows."""
        wanted = chunk.features["postprocess"]
        return GrowingText(
            decoder(self._tokenizer, wanted),
            self._tokenizer_lock,
            before=self._decoded_before(chunk),
            cleans=cleans(self._tokenizer, wanted),
        )

    def _decoded_before(self, chunk: Chunk) -> Sequence[int]:
        """Give those tokens of a row's prompt that the pipeline decodes with the new ones."""
        return ()

    def _new_text(self, chunk: Chunk, output: Mapping[str, Any]) -> str:
        """Give a row's text without its prompt, as the pipeline makes it."""
        *_, alone = self._pipeline._sanitize_parameters(return_full_text=False)
        records = self._pipeline.postprocess(
            {**output, **chunk.features["kept"]}, **{**chunk.features["postprocess"], **alone}
        )
        return str(records[0]["generated_text"])

    def _batch(self, rows: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        prompts = [{name: row[name] for name in ("input_ids", "attention_mask")} for row in rows]
        return stack(prompts, self._reading.fill, "left")

    def _ends(self, stops: Any, limits: Sequence[int], width: int) -> Ends:
        criterion = StopStringCriteria(self._stop_tokenizer, stops) if stops is not None else None
        device = self._device.torch
        end_tokens = end_tokens_of(self._model).to(device)
        return Ends(torch.tensor(limits, device=device), width, end_tokens, criterion)

    @staticmethod
    def _split(
        sequences: torch.Tensor, width: int, lengths: torch.Tensor, prompts: Sequence[int]
    ) -> list[dict[str, Any]]:
        each = sequences.shape[0] // len(prompts)
        outputs = []
        for row, prompt in enumerate(prompts):
            of_row = slice(row * each, (row + 1) * each)
            new = int(lengths[of_row].max())
            answers = sequences[of_row, width - prompt : width + new]
            outputs.append({"generated_sequence": answers.unsqueeze(0)})
        return outputs


class _RepetitionPenalty(LogitsProcessor):
    """transformers' repetition penalty, which by itself takes padding for tokens that occurred."""

    def __init__(self, penalty: float, mask: torch.Tensor) -> None:
        self._penalty = RepetitionPenaltyLogitsProcessor(penalty)
        self._mask = mask

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        each = input_ids.shape[0] // self._mask.shape[0]
        mask = self._mask.repeat_interleave(each, dim=0)
        width = mask.shape[1]
        # The prompt's last token stands in for the padding: it occurred anyway.
        last = input_ids[:, width - 1 : width]
        prompt = torch.where(mask.bool(), input_ids[:, :width], last)
        penalized: torch.Tensor = self._penalty(
            torch.cat([prompt, input_ids[:, width:]], dim=1), scores
        )
        return penalized
