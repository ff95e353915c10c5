"""What is the job's own fault is refused alone, with a cure, and without quoting its words."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch

from stoker_tasks.errors import InputFetchFailed, Internal, InvalidInput, OutOfMemory, StokerError
from stoker_tasks.wire import make_job
from stoker_workers.engine.delivery import Work
from stoker_workers.engine.forward import run
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.window import Row
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.doubles.line import delivery
from tests.parity.batched import run_batched
from tests.tiny.fixture import TinyModel
from tests.tiny.media import picture, sound, wave

SECRET = "zebra"
LONG = " ".join([SECRET] * 300)
GREEDY = {"do_sample": False}


@dataclass(frozen=True)
class Refusal:
    """A job that is refused, and what the message says."""

    task: str
    model: str
    inputs: Any
    parameters: Mapping[str, Any]
    says: str

    def __str__(self) -> str:
        return f"{self.task}: {self.says}"


@cache
def _load(task: str, folder: str) -> Adapter:
    return load(ModelKey(task, folder), find_device("cpu"))


def a_model(tiny: TinyModel, task: str, name: str) -> Adapter:
    return _load(task, tiny(name))


TOO_LONG = r"has \d{3,} tokens and this model reads at most \d+: shorten it, .*truncation"

REFUSALS = [
    Refusal("text-classification", "bert_classifier", LONG, {}, TOO_LONG),
    Refusal("text-classification", "bert_classifier", [SECRET, LONG], {"top_k": 1}, TOO_LONG),
    Refusal(
        "text-classification",
        "bert_classifier",
        LONG,
        {"truncation": True, "max_length": 99},
        r"has 99 tokens and this model reads at most 64",
    ),
    Refusal("token-classification", "bert_tagger", LONG, {}, TOO_LONG),
    Refusal(
        "token-classification",
        "bert_tagger",
        LONG.split(),
        {"is_split_into_words": True},
        TOO_LONG,
    ),
    Refusal(
        "token-classification",
        "bert_tagger",
        LONG,
        {"stride": 64, "aggregation_strategy": "simple"},
        "must be less than",
    ),
    Refusal(
        "token-classification",
        "bert_tagger",
        LONG,
        {"stride": 63, "aggregation_strategy": "simple"},
        "effective max length",
    ),
    Refusal(
        "token-classification",
        "bert_tagger",
        LONG,
        {"stride": 3, "aggregation_strategy": "none"},
        "select another one",
    ),
    Refusal(
        "token-classification", "bert_tagger", SECRET, {"is_split_into_words": True}, "list of"
    ),
    Refusal("token-classification", "bert_tagger", [[SECRET]], {}, "untokenized string"),
    Refusal("fill-mask", "bert_filler", SECRET, {}, r"no \[MASK\], .* write \[MASK\]"),
    Refusal("fill-mask", "bert_filler", "[MASK] " + LONG, {}, TOO_LONG),
    Refusal("fill-mask", "bert_filler", "[MASK]", {"top_k": 10_000}, "top_k: this model knows"),
    Refusal("fill-mask", "bert_filler", "[MASK]", {"targets": [""]}, "At least one target"),
    Refusal(
        "fill-mask",
        "bert_filler",
        LONG + " [MASK]",
        {"tokenizer_kwargs": {"truncation": True}},
        "before the place where the text is cut",
    ),
    Refusal("fill-mask", "roberta_filler", "<mask>" + "a" * 60, {}, "reads at most 40"),
    Refusal("feature-extraction", "bert_encoder", LONG, {"pooling": "mean"}, TOO_LONG),
    Refusal(
        "feature-extraction",
        "bert_encoder",
        SECRET,
        {"truncation": True, "tokenize_kwargs": {"truncation": True}},
        "defined twice",
    ),
    Refusal(
        "zero-shot-classification", "bert_nli", LONG, {"candidate_labels": ["a", "b"]}, TOO_LONG
    ),
    Refusal("zero-shot-classification", "bert_nli", "", {"candidate_labels": "a"}, "at least one"),
    Refusal("text-generation", "gpt2", LONG, {}, TOO_LONG),
    Refusal("text-generation", "gpt2", SECRET, {}, "up to 256 .* at most 123, or shorten"),
    Refusal("text-generation", "llama_chat", "", GREEDY, "no token to begin a text"),
    Refusal(
        "text-generation", "gpt2", [{"role": "user", "content": SECRET}], GREEDY, "chat.template"
    ),
    Refusal(
        "text-generation",
        "llama_chat",
        SECRET,
        {"do_sample": False, "num_return_sequences": 3},
        "num_return_sequences",
    ),
    Refusal("image-classification", "vit_classifier", b"zebra", {}, "image cannot be read"),
    Refusal("image-classification", "vit_classifier", {"base64": "zebra!"}, {}, "base64"),
    Refusal("automatic-speech-recognition", "whisper", b"zebra", {}, "sound cannot be read"),
    Refusal(
        "automatic-speech-recognition",
        "whisper",
        sound(wave(3.5, 1)),
        {},
        r"has 3\.5 seconds and this model hears at most 2 at once: set return_timestamps",
    ),
    Refusal(
        "automatic-speech-recognition",
        "whisper",
        sound(wave(0.5, 1)),
        {"return_timestamps": "char"},
        "cannot return `char`",
    ),
    Refusal(
        "automatic-speech-recognition",
        "wav2vec2_layer",
        sound(wave(0.5, 1)),
        {"return_timestamps": True},
        "'char'` or .*'word'`",
    ),
    Refusal(
        "automatic-speech-recognition",
        "wav2vec2_layer",
        sound(wave(0.5, 1)),
        {"return_language": True},
        "Only Whisper",
    ),
    Refusal(
        "automatic-speech-recognition",
        "wav2vec2_layer",
        sound(wave(0.5, 1)),
        {"chunk_length_s": 0.2, "stride_length_s": 0.2},
        "superior to stride",
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_what_is_the_jobs_own_fault(refusal: Refusal, tiny: TinyModel) -> None:
    model = a_model(tiny, refusal.task, refusal.model)
    job = make_job(refusal.task, {"inputs": refusal.inputs, "parameters": refusal.parameters})
    with pytest.raises(InvalidInput, match=refusal.says) as raised:
        model.preprocess(job, {})
    assert SECRET not in raised.value.message
    # Nor does what is logged with it.
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_settings_that_only_generate_can_judge(tiny: TinyModel) -> None:
    model = a_model(tiny, "automatic-speech-recognition", "whisper")
    fields = {"inputs": sound(wave(0.5, 1))}
    parameters = {"generate_kwargs": {"language": "klingon"}}
    job = make_job("automatic-speech-recognition", {**fields, "parameters": parameters})
    with pytest.raises(InvalidInput, match="klingon"):
        model.forward(model.preprocess(job, {}).chunks)


def test_both_lengths_are_there_for_programs(tiny: TinyModel) -> None:
    model = a_model(tiny, "text-classification", "bert_classifier")
    with pytest.raises(InvalidInput) as raised:
        model.preprocess(make_job("text-classification", {"inputs": LONG}), {})
    assert raised.value.details["limit"] == 64
    assert raised.value.details["tokens"] > 300


def test_media_that_travelled_by_the_store(tiny: TinyModel) -> None:
    model = a_model(tiny, "image-classification", "vit_classifier")
    job = make_job("image-classification", {"inputs": {"uri": "artifact:1"}})
    with pytest.raises(InputFetchFailed):
        model.preprocess(job, {})
    prepared = model.preprocess(job, {"artifact:1": picture(20, 20, 1)})
    assert [chunk.length for chunk in prepared.chunks] == [32 * 32 // 256]


@pytest.mark.parametrize(
    ("task", "name", "inputs", "lengths"),
    [
        ("text-classification", "bert_classifier", ["the dog", "the lazy dog"], [4, 5]),
        ("automatic-speech-recognition", "whisper", sound(wave(0.5, 1)), [200 // 2]),
        ("automatic-speech-recognition", "wav2vec2_layer", sound(wave(0.5, 1)), [25]),
    ],
)
def test_lengths(task: str, name: str, inputs: Any, lengths: list[int], tiny: TinyModel) -> None:
    prepared = a_model(tiny, task, name).preprocess(make_job(task, {"inputs": inputs}), {})
    assert [chunk.length for chunk in prepared.chunks] == lengths


def test_jobs_whose_settings_differ_do_not_share_a_pass(tiny: TinyModel) -> None:
    model = a_model(tiny, "text-generation", "llama_chat")
    settings: list[dict[str, Any]] = [
        {"do_sample": False, "max_new_tokens": 8},
        {"do_sample": True, "max_new_tokens": 8},
        {"do_sample": False, "max_new_tokens": 8, "num_beams": 2},
        {"do_sample": False, "max_new_tokens": 8, "repetition_penalty": 2.0},
        {"do_sample": False, "max_new_tokens": 8, "stop_sequence": "x"},
        # Twice as long: the short one would wait.
        {"do_sample": False, "max_new_tokens": 40},
    ]
    jobs = [make_job("text-generation", {"inputs": "a", "parameters": each}) for each in settings]
    assert len({model.preprocess(job, {}).chunks[0].key for job in jobs}) == len(jobs)


def test_out_of_memory_is_told_apart_and_leaves_nothing_behind(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_model(tiny, "text-classification", "bert_classifier")
    chunks = model.preprocess(make_job("text-classification", {"inputs": "a"}), {}).chunks

    def starve(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(model._model, "forward", starve)
    with pytest.raises(MemoryError, match="1 rows do not fit") as raised:
        model.forward(chunks)
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")],
)
def test_too_little_memory_to_read_a_job_does_not_make_its_inputs_invalid(
    error: Exception, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_model(tiny, "text-classification", "bert_classifier")

    def starve(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(model._pipeline, "preprocess", starve)
    with pytest.raises(OutOfMemory):
        model.preprocess(make_job("text-classification", {"inputs": "a"}), {})


def test_a_fault_of_the_model_is_no_error_of_the_job(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_model(tiny, "text-classification", "bert_classifier")
    chunks = model.preprocess(make_job("text-classification", {"inputs": "a"}), {}).chunks

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(model._model, "forward", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        model.forward(chunks)


def test_threads_do_not_read_each_others_truncation(tiny: TinyModel) -> None:
    model = a_model(tiny, "text-classification", "bert_classifier")
    seen: list[str] = []

    def work(parameters: dict[str, Any], inputs: str, wanted: Any) -> None:
        job = make_job("text-classification", {"inputs": inputs, "parameters": parameters})
        for _ in range(60):
            try:
                found: Any = model.preprocess(job, {}).chunks[0].length
            except StokerError as error:
                found = type(error)
            if found != wanted:
                seen.append(f"{parameters}: {found}")

    tasks: list[tuple[dict[str, Any], str, Any]] = [
        ({"truncation": True}, LONG, 64),
        ({"truncation": True, "max_length": 9}, LONG, 9),
        ({}, LONG, InvalidInput),
        ({}, "the dog", 4),
    ]
    threads = [threading.Thread(target=work, args=each) for each in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not seen


def test_postprocessing_twice_gives_the_same(tiny: TinyModel) -> None:
    model = a_model(tiny, "automatic-speech-recognition", "whisper")
    parameters = {"chunk_length_s": 1.0, "generate_kwargs": {"num_beams": 1, "max_new_tokens": 5}}
    job = make_job(
        "automatic-speech-recognition",
        {"inputs": sound(wave(2.5, 1)), "parameters": parameters},
    )
    prepared = model.preprocess(job, {})
    outputs = model.forward(prepared.chunks)
    first = model.postprocess(job, prepared, outputs)
    assert model.postprocess(job, prepared, outputs) == first


def test_the_name_says_model_and_commit(tiny: TinyModel) -> None:
    assert a_model(tiny, "fill-mask", "bert_filler").name == f"{tiny('bert_filler')}@local"


def test_sampled_sequences_are_each_jobs_own(tiny: TinyModel) -> None:
    model = a_model(tiny, "text-generation", "llama_chat")
    parameters = {"num_return_sequences": 3, "max_new_tokens": 8, "return_full_text": True}
    jobs = [
        make_job("text-generation", {"inputs": text, "parameters": parameters})
        for text in ("a cat", "two dogs and more")
    ]
    outputs, forwards = run_batched(model, jobs)
    assert forwards == 1
    for job, output in zip(jobs, outputs, strict=True):
        texts = [each["generated_text"] for each in output.value]
        assert len(texts) == 3
        assert all(text.startswith(job.inputs) for text in texts)


def passes_of(model: Adapter, texts: list[str]) -> tuple[list[Any], list[int]]:
    """Run texts through the engine's passes: each one's output, and how many rows each pass gave.

    The texts are those of one job, so that they are rows of one batch.
    """
    prepared = model.preprocess(make_job("text-classification", {"inputs": texts}), {})
    work = Work(delivery("x"))
    rows = [Row(work, at, chunk, at) for at, chunk in enumerate(prepared.chunks)]
    given: dict[int, Any] = {}
    sizes = []
    for each in run(model, rows, lambda rows: [False] * len(rows), lambda _: None):
        sizes.append(len(each.rows))
        given |= {row.position: got for row, got in zip(each.rows, each.outputs, strict=True)}
    return [given[at] for at in range(len(rows))], sizes


@pytest.mark.parametrize("alone", [False, True], ids=["in company only", "alone as well"])
def test_numbers_that_are_none_fail_only_a_row_that_has_them_alone(
    alone: bool, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_model(tiny, "text-classification", "bert_classifier")
    texts = ["the dog", "the lazy dog jumps", "a quick fox"]
    forward = model._model.forward
    wanted, _ = passes_of(model, texts)
    guilty = model.preprocess(make_job("text-classification", {"inputs": texts[1]}), {}).chunks[0]
    marks = guilty.features["inputs"]["input_ids"][0]

    def overflow(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        ids = kwargs["input_ids"]
        if alone or len(ids) > 1:
            for row, each in enumerate(ids):
                if torch.equal(each[: len(marks)], marks):
                    output.logits[row, 0] = float("nan")
        return output

    monkeypatch.setattr(model._model, "forward", overflow)
    given, sizes = passes_of(model, texts)

    assert sizes == [2, 1]
    for at, (one, other) in enumerate(zip(given, wanted, strict=True)):
        if alone and at == 1:
            assert isinstance(one, Internal)
            assert "NaN" in one.message
        else:
            torch.testing.assert_close(one["logits"], other["logits"])
