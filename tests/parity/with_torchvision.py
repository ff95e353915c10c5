"""What is true where torchvision is installed: `test_torchvision` runs this in such a process."""

from pathlib import Path

import numpy as np
import pytest
import transformers

from stoker import Client, Success
from stoker_tasks.catalog import find
from stoker_tasks.errors import InvalidInput
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ArtifactData, ModelKey, Output
from stoker_workers.models.adapters import multimodal as adapter
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import check, compare, jobs_of, run_batched, with_contents
from tests.parity.cases import CASES, multimodal, regions
from tests.parity.cases.case import Case
from tests.parity.images import alike
from tests.parity.test_mutations import OneJobsParameters, RowsPermuted, differs
from tests.support.worker import model_worker
from tests.tiny.fixture import TinyModel
from tests.tiny.media import film, picture

SECONDS = 60.0

# Where torchvision is, transformers has it read the images.
READ_OTHERWISE = [case for case in CASES if case.name in ("object-detection", "depth-estimation")]

CASES_HERE = [*regions.MASKS, regions.TOLD, *multimodal.SEEN, *READ_OTHERWISE]


@pytest.mark.parametrize("case", CASES_HERE, ids=str)
def test_batched_equals_alone(case: Case, tiny: TinyModel) -> None:
    folder = tiny(case.model)
    found, forwards = check(case, load(ModelKey(case.task, folder), find_device("cpu")), folder)
    assert not found
    assert forwards == case.forwards


def test_mistakes_are_noticed(tiny: TinyModel) -> None:
    case = regions.MASKS[0]
    assert differs(case, tiny, RowsPermuted, may_fail=True)
    assert differs(case, tiny, OneJobsParameters)


def test_nothing_found_is_no_fault(tiny: TinyModel) -> None:
    spec = find("mask-generation")
    model = load(ModelKey(spec.name, tiny("sam")), find_device("cpu"))
    # Trained models are surer than this tiny one.
    outputs, _ = run_batched(model, [make_job(spec.name, spec.example)])
    assert outputs[0].value == {"masks": [], "scores": []}


def test_outlines_that_nobody_waits_for_are_not_drawn(tiny: TinyModel) -> None:
    model = load(ModelKey("mask-generation", tiny("sam")), find_device("cpu"))
    given = {"points_per_crop": 4, "points_per_batch": 4, "pred_iou_thresh": -10.0}
    job = make_job("mask-generation", {"inputs": picture(64, 48, 1), "parameters": given})
    [chunk] = model.preprocess(job, {}).chunks
    looked: list[int] = []

    def ended() -> list[bool]:
        looked.append(len(looked))
        return [len(looked) > 1, False]

    [gone, waited_for] = model.forward([chunk, chunk], ended)
    # Sixteen points are four steps: the first job's end after one.
    assert len(looked) == 2 + 4
    assert len(gone["parts"]) == 1
    assert len(waited_for["parts"]) == 4


def test_films_are_seen_frame_by_frame(tiny: TinyModel) -> None:
    # By itself transformers would ask for torchcodec to read them.
    classify = load(ModelKey("video-classification", tiny("videomae")), find_device("cpu"))
    jobs = [
        make_job("video-classification", {"inputs": film(frames, 40, 30, 1)}) for frames in (3, 9)
    ]
    outputs, forwards = run_batched(classify, jobs)
    assert forwards == 1
    assert [len(output.value) for output in outputs] == [4, 4]
    talk = load(ModelKey("image-text-to-text", tiny("qwen2_vl")), find_device("cpu"))
    answers = []
    for frames in (4, 6):
        parts = [{"type": "video", "video": film(9, 40, 30, frames)}]
        given = {**multimodal.greedy(6), "num_frames": frames, "return_full_text": False}
        chat = [{"role": "user", "content": [*parts, {"type": "text", "text": "What happens?"}]}]
        job = make_job("image-text-to-text", {"inputs": chat, "parameters": given})
        ((output,), _) = run_batched(talk, [job])
        answers.append(output.value[0]["generated_text"])
    assert answers[0] != answers[1]


PAINT = {"generation_mode": "image", "generate_kwargs": {"do_sample": False}}


def test_images_that_a_model_makes(tiny: TinyModel) -> None:
    # Not by the pipeline: what it turns them into pictures with fails where torchvision is.
    folder = tiny("janus")
    model = load(ModelKey("any-to-any", folder), find_device("cpu"))
    texts = ["a cat", "the quick brown fox jumps over the lazy dog"]
    outputs, _ = run_batched(model, jobs_of("any-to-any", [(text, PAINT) for text in texts]))

    judge = transformers.JanusForConditionalGeneration.from_pretrained(folder)
    look = transformers.JanusImageProcessorPil.from_pretrained(folder)
    read = transformers.AutoProcessor.from_pretrained(folder)
    for text, output in zip(texts, outputs, strict=True):
        asked = read(text=text, generation_mode="image", return_tensors="pt")
        tokens = judge.generate(**asked, generation_mode="image", do_sample=False)
        painted = list(judge.decode_image_tokens(tokens).detach().permute(0, 3, 1, 2))
        [wanted] = look.postprocess(painted, return_tensors="PIL.Image.Image")["pixel_values"]
        [found] = with_contents(output)
        assert alike(found["generated_image"], wanted)
        assert np.ptp(np.asarray(wanted)) > 0


def test_images_of_models_that_nothing_is_known_of(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(ModelKey("any-to-any", tiny("janus")), find_device("cpu"))
    monkeypatch.setattr(adapter, "_PAINTERS", frozenset({"another"}))
    job = make_job("any-to-any", {"inputs": "a cat", "parameters": PAINT})
    with pytest.raises(InvalidInput, match="a janus model makes no images here; another models do"):
        model.preprocess(job, {})


def test_an_image_that_nobody_waits_for_is_not_made(tiny: TinyModel) -> None:
    model = load(ModelKey("any-to-any", tiny("janus")), find_device("cpu"))
    [chunk] = model.preprocess(
        make_job("any-to-any", {"inputs": "a cat", "parameters": PAINT}), {}
    ).chunks
    looked: list[bool] = []

    def ended() -> list[bool]:
        looked.append(len(looked) == 3)
        return looked[-1:]

    assert len(model.forward([chunk], ended)) == 1
    assert len(looked) == 4


# -- through a worker --------------------------------------------------------------------------


def test_what_a_worker_stores_of_jobs_equals_alone(
    client: Client, redis_url: str, tmp_path: Path, tiny: TinyModel
) -> None:
    cases = (regions.MASKS[0], multimodal.SEEN[0])
    defaults = {case.task: tiny(case.model) for case in cases}
    app = "tests.doubles.torchvision_app"
    # Nothing to learn before jobs come.
    with model_worker(redis_url, tmp_path, defaults, app=app, batch_tokens=4096):
        submitted = [client.submit_many(jobs_of(case.task, case.calls)) for case in cases]
        results = [[each.result(SECONDS) for each in handles] for handles in submitted]

    for case, found in zip(cases, results, strict=True):
        outputs = [read(client, each) for each in found]
        assert compare(case, outputs, defaults[case.task]) == []
    masks, answers = results
    assert all(each.artifacts for each in masks)
    assert {part.mime_type for each in masks for part in each.artifacts} == {"image/png"}
    # As run lengths of masks, and as boxes.
    assert all(isinstance(each["rle_mask"][0]["counts"], list) for each in masks[2].output)
    assert masks[1].output["bounding_boxes"]
    assert all(each.artifacts == [] for each in answers)


def read(client: Client, result: Success) -> Output:
    """Give a result as the worker made it, with what its artifacts hold."""
    parts = [
        ArtifactData(each.uri, each.mime_type, client.artifact(each.uri))
        for each in result.artifacts
    ]
    return Output(result.output, parts)
