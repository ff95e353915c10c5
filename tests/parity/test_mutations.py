"""The parity check notices the mistakes it is there for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk, Ended, Follow, ModelKey, Output, Prepared
from stoker_workers.models.adapters import collate
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.adapters.pixels import ImageAdapter
from stoker_workers.models.adapters.regions import KeypointMatcher
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import TOLERANCE, compare, jobs_of, judge_of, run_batched
from tests.parity.cases import CASES
from tests.parity.cases.case import ENDLESS, ENDLESS_TABLE, Call, Case, for_pipeline
from tests.tiny.fixture import TinyModel

BY_NAME = {case.name: case for case in CASES}

# A text model's mask; a decoder's, which pads left; a sound's.
MASKED = (
    "text-classification",
    "feature-extraction",
    "text-generation",
    "summarization",
    "question-answering",
    "document-question-answering",
    "speech-by-frames",
    "audio-classification",
    "text-to-audio-tokens",
    "visual-question-answering",
    "image-text-to-text",
    "any-to-any",
)
# Padding would change their answers, so that only equal lengths share a pass, or none.
BUCKETED = (
    "speech-by-frames-group-norm",
    "audio-classification-group-norm",
    "text-to-audio-wave",
    "text-to-audio-spectrogram",
    "text2text-generation-with-a-forced-end",
    "translation",
    "visual-question-answering-written",
    "document-question-answering-by-picture",
)
# Their processors keep the sizes of images, or their proportions.
OF_ANY_SIZE = (
    "image-classification-of-any-size",
    "image-feature-extraction-of-any-size",
    "depth-estimation-of-any-size",
    "image-to-image",
    "object-detection",
    "object-detection-by-patches",
    "image-segmentation-panoptic",
    "zero-shot-object-detection-phrase-by-phrase",
)
# Each task; mask-generation's stands where torchvision is.
ALL_KINDS = (
    "text-classification",
    "token-classification",
    "fill-mask",
    "feature-extraction",
    "zero-shot-classification",
    "text-generation",
    "summarization",
    "translation-by-prompt",
    "text2text-generation",
    "question-answering",
    "table-question-answering",
    "document-question-answering",
    "document-question-answering-by-picture",
    "decision",
    "image-classification",
    "zero-shot-image-classification",
    "image-feature-extraction",
    "depth-estimation",
    "image-to-image",
    "object-detection",
    "image-segmentation-panoptic",
    "keypoint-matching",
    "zero-shot-object-detection",
    "speech-by-frames",
    "speech-whisper",
    "audio-classification",
    "zero-shot-audio-classification",
    "text-to-audio-tokens",
    "text-to-audio-spectrogram",
    "image-to-text",
    "visual-question-answering",
    "video-classification",
    "image-text-to-text",
    "any-to-any",
)
GIVE_SOUND = ("text-to-audio-tokens", "text-to-audio-spectrogram")
GIVE_TEXT = (
    "text-generation",
    "summarization",
    "translation-by-prompt",
    "text2text-generation",
    "table-question-answering",
    "document-question-answering-by-picture",
    "speech-by-frames",
    "speech-whisper",
    "image-to-text",
    "image-text-to-text",
    "any-to-any",
)
# What differs between their jobs is what is cut or left out: of no account to what is short.
# Three tasks have no parameters.
PLAIN = (
    "speech-whisper",
    "text-to-audio-tokens",
    "table-question-answering",
    "document-question-answering-by-picture",
    "decision",
    "depth-estimation",
    "image-to-image",
)
PARAMETRISED = tuple(name for name in ALL_KINDS if name not in PLAIN)


class Mutant:
    """A warm model that makes one mistake."""

    def __init__(self, model: Adapter) -> None:
        self.model = model

    @property
    def name(self) -> str:
        return self.model.name

    def is_slow(self, job: Job) -> bool:
        return self.model.is_slow(job)

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        return self.model.preprocess(job, media)

    def forward(
        self,
        chunks: Sequence[Chunk],
        ended: Ended | None = None,
        follow: Sequence[Follow | None] = (),
    ) -> Sequence[Any]:
        return self.model.forward(chunks, ended, follow)

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        return self.model.postprocess(job, prepared, outputs)


class RowsPermuted(Mutant):
    """Gives each row its neighbour's output."""

    def forward(
        self,
        chunks: Sequence[Chunk],
        ended: Ended | None = None,
        follow: Sequence[Follow | None] = (),
    ) -> Sequence[Any]:
        outputs = list(super().forward(chunks, ended, follow))
        return outputs[1:] + outputs[:1]


class OneJobsParameters(Mutant):
    """Reads and writes all jobs with the parameters of one."""

    def __init__(self, model: Adapter) -> None:
        super().__init__(model)
        self.first: Job | None = None

    def _same(self, job: Job) -> Job:
        self.first = self.first or job
        return job.model_copy(update={"parameters": self.first.parameters})

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        return super().preprocess(self._same(job), media)

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        return super().postprocess(self._same(job), prepared, outputs)


class WithoutBuckets(Mutant):
    """Pads whatever its parameters let share a pass."""

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        prepared = super().preprocess(job, media)
        chunks = [replace(each, key=_without_bucket(each.key)) for each in prepared.chunks]
        return replace(prepared, chunks=chunks)


def _without_bucket(key: Any) -> Any:
    parameters, names, _ = key
    return parameters, names


@pytest.fixture
def mask_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets models read the padding."""
    stack = collate.stack

    def without_mask(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        batch = stack(*args, **kwargs)
        if "attention_mask" in batch:
            batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
        return batch

    for module in ("one_pass", "generation", "seq2seq", "sound", "speaking", "image_words"):
        monkeypatch.setattr(f"stoker_workers.models.adapters.{module}.stack", without_mask)


@pytest.mark.usefixtures("mask_dropped")
@pytest.mark.parametrize("name", MASKED)
def test_a_dropped_mask_is_noticed(name: str, tiny: TinyModel) -> None:
    assert _differs(name, tiny, lambda model: model)


@pytest.mark.parametrize("name", BUCKETED)
def test_without_its_bucket_an_answer_is_another(name: str, tiny: TinyModel) -> None:
    assert _differs(name, tiny, WithoutBuckets)


@pytest.fixture
def sizes_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets images of all sizes share a pass, padded to the largest and, if possible, masked."""
    stack = collate.stack

    def padded(rows: Sequence[Mapping[str, torch.Tensor]], *args: Any) -> dict[str, torch.Tensor]:
        sizes = [row["pixel_values"].shape[-2:] for row in rows]
        high, wide = (max(each) for each in zip(*sizes, strict=True))
        return stack([_grown(row, high, wide) for row in rows], *args)

    monkeypatch.setattr("stoker_workers.models.adapters.pixels.stack", padded)
    for module in ("pixels", "regions"):
        monkeypatch.setattr(f"stoker_workers.models.adapters.{module}.bucket", lambda _: ())


def _grown(row: Mapping[str, torch.Tensor], high: int, wide: int) -> dict[str, torch.Tensor]:
    grown = dict(row)
    for name in ("pixel_values", "pixel_mask"):
        if name in row:
            *_, height, width = row[name].shape
            frame = (0, wide - width, 0, high - height)
            grown[name] = torch.nn.functional.pad(row[name], frame)
    return grown


@pytest.mark.usefixtures("sizes_mixed")
@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_mixed_sizes_are_noticed(name: str, tiny: TinyModel) -> None:
    assert _differs(name, tiny, lambda model: model)


@pytest.mark.parametrize("name", ["keypoint-matching", "keypoint-matching-that-may-stop-early"])
def test_pairs_matched_together_are_noticed(
    name: str, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeypointMatcher, "_forward", ImageAdapter._forward)
    assert _differs(name, tiny, lambda model: model, may_fail=True)


@pytest.mark.parametrize("name", ALL_KINDS)
def test_permuted_rows_are_noticed(name: str, tiny: TinyModel) -> None:
    assert _differs(name, tiny, RowsPermuted, may_fail=True)


@pytest.mark.parametrize("name", PARAMETRISED)
def test_one_jobs_parameters_for_all_are_noticed(name: str, tiny: TinyModel) -> None:
    assert _differs(name, tiny, OneJobsParameters)


@pytest.mark.parametrize(
    "name", [name for name in ALL_KINDS if name not in (*GIVE_TEXT, *GIVE_SOUND)]
)
def test_scores_spread_far_beyond_the_tolerance(name: str, tiny: TinyModel) -> None:
    # Else every job's output would pass for every other's.
    case = BY_NAME[name]
    alone = judge_of(case, tiny(case.model))
    found = [_numbers(alone(for_pipeline(inputs), **given)) for inputs, given in _calls(case)]
    shortest = min(map(len, found))
    assert shortest > 0
    columns = zip(*(sorted(numbers)[:shortest] for numbers in found), strict=True)
    assert max(max(column) - min(column) for column in columns) > 10 * TOLERANCE


@pytest.mark.parametrize("name", GIVE_TEXT)
def test_every_input_gives_another_text(name: str, tiny: TinyModel) -> None:
    case = BY_NAME[name]
    alone = judge_of(case, tiny(case.model))
    chats = ("text-generation", "image-text-to-text", "any-to-any")
    new = {"return_full_text": False} if case.task in chats else {}
    texts = [str(alone(for_pipeline(inputs), **{**given, **new})) for inputs, given in _calls(case)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", GIVE_SOUND)
def test_every_text_gives_another_sound(name: str, tiny: TinyModel) -> None:
    case = BY_NAME[name]
    model = load(ModelKey(case.task, tiny(case.model)), find_device("cpu"))
    outputs, _ = run_batched(model, jobs_of(case.task, case.calls))
    files = [each.data for output in outputs for each in output.artifacts]
    assert len(set(files)) == len(files) > 2
    assert min(map(len, files)) > 100


def _differs(
    name: str, tiny: TinyModel, mutate: Callable[[Adapter], Any], *, may_fail: bool = False
) -> bool:
    return differs(BY_NAME[name], tiny, mutate, may_fail=may_fail)


def differs(
    case: Case, tiny: TinyModel, mutate: Callable[[Adapter], Any], *, may_fail: bool = False
) -> bool:
    """Tell whether the parity check notices what a mutant does to a case's jobs."""
    case = replace(case, calls=_calls(case))
    folder = tiny(case.model)
    mutant = mutate(load(ModelKey(case.task, folder), find_device("cpu")))
    jobs = jobs_of(case.task, case.calls)
    try:
        outputs, _ = run_batched(mutant, jobs)
    except (IndexError, RuntimeError, ValueError):
        if not may_fail:
            raise
        return True
    # An error of the reference is no mistake that was noticed.
    return bool(compare(case, outputs, folder))


def _calls(case: Case) -> list[Call]:
    """Leave out what another job's parameters would make fail: that is too easy to notice."""
    return [
        call
        for call in case.calls
        if not any(str(each) in str(call[0]) for each in (ENDLESS, ENDLESS_TABLE))
        and "is_split_into_words" not in call[1]
    ]


def _numbers(value: Any) -> list[float]:
    if isinstance(value, Mapping):
        return [number for each in value.values() for number in _numbers(each)]
    if isinstance(value, (list, tuple)):
        return [number for each in value for number in _numbers(each)]
    if isinstance(value, (str, int)) or value is None:
        return []
    if isinstance(value, (Image.Image, torch.Tensor)):
        return [float(number) for number in np.asarray(value).flat]
    return [float(value)]
