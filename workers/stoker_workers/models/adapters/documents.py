"""The task whose model answers questions about a page: by its words, or by its picture alone."""

import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from shutil import which
from typing import Any, Final

import torch
from transformers.pipelines import document_question_answering
from transformers.pipelines.document_question_answering import normalize_box

from stoker_tasks.errors import InvalidInput, TooLarge, Unserved
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk
from stoker_workers.models.adapters.answers import AnswerFinder
from stoker_workers.models.adapters.base import Adapter, Row, Stages, generate
from stoker_workers.models.adapters.collate import stack
from stoker_workers.models.adapters.ends import Ends, end_tokens_of, lengths_of
from stoker_workers.models.adapters.halting import halting
from stoker_workers.models.adapters.reading import reading_of
from stoker_workers.models.device import Device
from stoker_workers.models.media import decode_image, read_bytes
from stoker_workers.models.pipelines.question_answering import stride_within

# The most words, as tokens, of which two chunks of a page have the same.
_OVERLAP: Final = 256
# For the pages of one job, each a few seconds: others whose pages are read wait meanwhile.
OCR_SECONDS: Final = 60.0
# What pytesseract says, by a RuntimeError, once it has killed the program.
_OUT_OF_TIME: Final = "Tesseract process timeout"
_PICTURES: Final = document_question_answering.ModelType.VisionEncoderDecoder


def document_adapter(pipeline: Any, name: str, device: Device) -> Adapter:
    """Make the adapter of a model's kind: it reads words and their places, or pixels."""
    if pipeline.model_type == _PICTURES:
        return PictureReader(pipeline, name, device)
    return WordReader(pipeline, name, device)


class WordReader(AnswerFinder):
    """document-question-answering by the words of a page: one row for each chunk of them."""

    own_parameters = frozenset({"lang", "tesseract_config"})

    def is_slow(self, job: Job) -> bool:
        """Say whether tesseract has to read a page."""
        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        return any(each.word_boxes is None for each in inputs)

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        end_by = time.monotonic() + OCR_SECONDS
        return [self._page(each, job, media, end_by) for each in inputs]

    def _page(
        self, asked: Any, job: Job, media: Mapping[str, bytes], end_by: float
    ) -> dict[str, Any]:
        words = asked.word_boxes
        if words is None:
            image = decode_image(read_bytes(asked.image, media))
            words = _read_page(image, self._language(job), job, end_by)
        if not words:
            raise InvalidInput("the page has no words: tesseract found none, or none were given")
        # The pipeline would have the image processor read the page again, and its models see no
        # more of the picture than that.
        return {"question": asked.question, "word_boxes": words}

    def _language(self, job: Job) -> str | None:
        lang: str | None = job.parameters.given().get("lang")
        return lang or getattr(self._pipeline.image_processor, "ocr_lang", None)

    def _shape(self, values: list[Any], job: Job) -> Any:
        return values if isinstance(job.inputs, list) else values[0]

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        given = dict(stages.preprocess)
        size = given.get("max_seq_len") or self._tokenizer.model_max_length
        given["doc_stride"] = stride_within(
            self._tokenizer, value["question"], size, given.get("doc_stride"), _OVERLAP
        )
        yield from super()._rows(value, job, replace(stages, preprocess=given))

    def _row(self, made: dict[str, Any]) -> Row:
        tensors = {name for name, each in made.items() if isinstance(each, torch.Tensor)}
        inputs = {name: made.pop(name) for name in tensors}
        kept = {**made, "attention_mask": inputs["attention_mask"]}
        return Row(inputs, int(inputs["input_ids"].shape[1]), (), kept)

    def _split(
        self, output: Any, rows: Sequence[Mapping[str, torch.Tensor]]
    ) -> list[dict[str, Any]]:
        found = super()._split(output, rows)
        return [{"start_logits": each["start"], "end_logits": each["end"]} for each in found]


class PictureReader(Adapter):
    """document-question-answering by the picture of a page, as Donut does it."""

    own_parameters = frozenset({"lang", "tesseract_config"})
    # Most image models read patches of 16 by 16 pixels as one token each.
    token_size = 256

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        super().__init__(pipeline, name, device)
        self._settings = pipeline._prepare_generate_kwargs({})
        self._effective = pipeline._get_set_generation_params(self._settings)
        self._settings.pop("max_length", None)
        self._held = reading_of(self._model.decoder, pipeline.tokenizer, generates=True).positions

    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        inputs = job.inputs if isinstance(job.inputs, list) else [job.inputs]
        if any(each.image is None for each in inputs):
            raise InvalidInput("this model reads the picture of a page: give image")
        return [
            {"question": each.question, "image": decode_image(read_bytes(each.image, media))}
            for each in inputs
        ]

    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        for made in self._preprocessed(value, stages):
            pixels, prompt = made["inputs"], made["decoder_input_ids"]
            inputs = {"pixels": pixels, "prompt": prompt}
            # A decoder's prompt is read without a mask, so that padding would be a part of it.
            key: Hashable = (tuple(pixels.shape), int(prompt.shape[1]))
            yield Row(inputs, int(pixels.shape[-2] * pixels.shape[-1]), key)

    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        batch = self._to_device(stack([chunk.features["inputs"] for chunk in chunks]))
        width = int(batch["prompt"].shape[1])
        limit = self._limit(width)
        settings = {**self._settings, "max_new_tokens": limit}
        ends = None
        if (self._effective.get("num_beams") or 1) == 1:
            limits = torch.full((len(chunks),), limit, device=self._device.torch)
            ends = Ends(limits, width, end_tokens_of(self._model).to(self._device.torch))
        settings["stopping_criteria"] = halting(self._ended, len(chunks), [ends] if ends else [])
        inputs = {"inputs": batch["pixels"], "decoder_input_ids": batch["prompt"]}
        sequences = generate(self._model, inputs, settings)
        new = sequences[:, width:]
        lengths = ends.lengths if ends else lengths_of(new, end_tokens_of(self._model))
        return [
            {"sequences": each[:, : width + int(length)]}
            for each, length in zip(sequences.split(1), lengths.cpu(), strict=True)
        ]

    def _limit(self, prompt: int) -> int:
        limit = self._effective.get("max_new_tokens") or self._effective["max_length"] - prompt
        return int(limit if self._held is None else min(limit, self._held - prompt))


def _read_page(image: Any, lang: str | None, job: Job, end_by: float) -> list[Any]:
    """Have tesseract find the words of a page and their places.

    Raises:
        Unserved: This worker lacks tesseract.
        TooLarge: Tesseract is not done in time.
        InvalidInput: Tesseract cannot read the page, or not in this language.
    """
    missing = [] if find_spec("pytesseract") else ["pip install pytesseract"]
    if which("tesseract") is None:
        missing.append("install the program tesseract (Debian, Ubuntu: apt install tesseract-ocr)")
    if missing:
        raise Unserved(
            "document-question-answering without word_boxes needs tesseract, which this worker "
            f"lacks: {' and '.join(missing)} there, or send word_boxes",
            {"missing": missing},
        )
    config = job.parameters.given().get("tesseract_config") or ""
    try:
        found = _ocr(image, lang, config, end_by)
    # Whatever the program says of this page and this language.
    except Exception as error:  # noqa: BLE001
        if str(error) == _OUT_OF_TIME:
            raise TooLarge(
                f"tesseract did not read the job's pages within {OCR_SECONDS:g} s: send fewer, "
                "smaller or clearer pictures, or their words as word_boxes",
                {"limit": OCR_SECONDS},
            ) from None
        raise InvalidInput(
            f"tesseract cannot read the page ({type(error).__name__}): is the language "
            f"{lang or 'eng'} installed with it?"
        ) from None
    return [
        (word, normalize_box([x, y, x + wide, y + high], image.width, image.height))
        for word, x, y, wide, high in found
        if word.strip()
    ]


def _ocr(
    image: Any, lang: str | None, config: str, end_by: float
) -> Iterable[tuple[str, int, int, int, int]]:
    """Run tesseract, as the pipeline does, but end it when the job's time for it is over."""
    import pytesseract

    # None at all would be taken for no limit.
    left = max(end_by - time.monotonic(), 0.001)
    found = pytesseract.image_to_data(
        image, lang=lang, config=config, output_type="dict", timeout=left
    )
    columns = ("text", "left", "top", "width", "height")
    return zip(*(found[name] for name in columns), strict=True)
