"""Runs jobs as the engine does, many in one forward pass, and compares with jobs that ran alone."""

import copy
import io
import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers
from PIL import Image

from stoker_tasks.job import Job
from stoker_tasks.wire import make_job
from stoker_workers.engine.model import Output, WarmModel
from tests.parity.cases.case import Case, for_pipeline
from tests.parity.image_words import JUDGES
from tests.parity.images import alike
from tests.parity.judges import direct, goldens

TOLERANCE = 1e-4
_SEED = 11

# Stoker refuses a text that is too long unless these say otherwise; the pipeline always cuts.
_OWN_PARAMETERS = {
    "token-classification": ("truncation",),
    "zero-shot-classification": ("truncation",),
}


def jobs_of(task: str, calls: Sequence[tuple[Any, Mapping[str, Any]]]) -> list[Job]:
    """Make the jobs of pipeline calls: (inputs, parameters)."""
    return [make_job(task, {"inputs": each, "parameters": given}) for each, given in calls]


def run_batched(model: WarmModel, jobs: Sequence[Job]) -> tuple[list[Output], int]:
    """Run jobs together, their rows mixed.

    Returns:
        The outputs, and how many forward passes it took.
    """
    prepared = [model.preprocess(job, {}) for job in jobs]
    rows = [(job, row) for job, each in enumerate(prepared) for row in range(len(each.chunks))]
    # A fixed order that is not the jobs'.
    random.Random(3).shuffle(rows)
    groups: dict[Any, list[tuple[int, int]]] = {}
    for job, row in rows:
        groups.setdefault(prepared[job].chunks[row].key, []).append((job, row))
    outputs: dict[tuple[int, int], Any] = {}
    for group in groups.values():
        # SpeechT5 draws at random, for all rows of a pass the same.
        torch.manual_seed(_SEED)
        given = model.forward([prepared[job].chunks[row] for job, row in group])
        outputs.update(zip(group, given, strict=True))
    finished = [
        model.postprocess(job, each, [outputs[index, row] for row in range(len(each.chunks))])
        for index, (job, each) in enumerate(zip(jobs, prepared, strict=True))
    ]
    return finished, len(groups)


def check(case: Case, model: WarmModel, folder: str) -> tuple[list[str], int]:
    """Compare a case's jobs, batched, with calls of the pipeline, each alone.

    Returns:
        The differences, and how many forward passes the batched jobs took.
    """
    outputs, forwards = run_batched(model, jobs_of(case.task, case.calls))
    return compare(case, outputs, folder), forwards


def compare(case: Case, outputs: Sequence[Output], folder: str) -> list[str]:
    """List where the outputs of a case's jobs differ from calls of the pipeline, each alone."""
    alone = judge_of(case, folder)
    found = []
    for index, (inputs, parameters) in enumerate(case.calls):
        own = _OWN_PARAMETERS.get(case.task, ())
        given = {name: each for name, each in parameters.items() if name not in own}
        torch.manual_seed(_SEED)
        wanted = alone(for_pipeline(inputs), **given)
        found += differences(with_contents(outputs[index]), wanted, f"job {index}")
    return found


def with_contents(output: Output) -> Any:
    """Give an output with what its artifacts hold in their place."""
    stored = {each.uri: each for each in output.artifacts}

    def restored(value: Any) -> Any:
        if isinstance(value, dict) and "artifact" in value:
            artifact = stored[value["artifact"]]
            data = io.BytesIO(artifact.data)
            if artifact.mime_type == "audio/wav":
                return soundfile.read(data, dtype="float32")[0].T
            if artifact.mime_type == "image/png":
                return Image.open(data)
            return np.load(data, allow_pickle=False)
        if isinstance(value, dict):
            return {name: restored(each) for name, each in value.items()}
        return [restored(each) for each in value] if isinstance(value, list) else value

    return restored(output.value)


def judge_of(case: Case, folder: str) -> Any:
    """Give what says how a call of the pipeline ends: one call at a time."""
    if case.judge == "golden":
        alone = goldens(case.name)
    elif case.judge == "direct":
        alone = direct(case.task, folder)
    else:
        alone = pipeline_alone(case.task, folder)
    # Some pipelines write into what they are given, which other tests read.
    return lambda inputs, **given: alone(inputs, **copy.deepcopy(given))


def pipeline_alone(task: str, folder: str) -> Any:
    """The judge: transformers' own pipeline where it has one, which gets one call at a time."""
    if task in JUDGES:
        return JUDGES[task](folder)
    extras: dict[str, Any] = {}
    if (Path(folder) / "vocoder").is_dir():
        extras["vocoder"] = transformers.SpeechT5HifiGan.from_pretrained(Path(folder) / "vocoder")
    pipeline = transformers.pipeline(
        task, model=folder, device="cpu", dtype=torch.float32, **extras
    )
    if task == "video-classification":
        return lambda inputs, **given: _from_files(pipeline, inputs, given)
    if task in ("image-text-to-text", "any-to-any"):
        return lambda inputs, **given: _without_media(_talk(pipeline, inputs, given))
    return _Speaking(pipeline) if task == "text-to-audio" else pipeline


def _talk(pipeline: Any, inputs: Any, given: Mapping[str, Any]) -> Any:
    if isinstance(inputs, dict):
        return pipeline(**inputs, **given)
    return pipeline(text=inputs, **given)


def _without_media(output: Any) -> Any:
    """Leave out what Stoker does not give back."""
    if isinstance(output, list):
        return [_without_media(each) for each in output]
    if isinstance(output, dict):
        left_out = ("input_text", "image", "audio", "video")
        return {name: _without_media(e) for name, e in output.items() if name not in left_out}
    return output


def _from_files(pipeline: Any, inputs: Any, given: Mapping[str, Any]) -> Any:
    """Let the pipeline read films, which it takes as paths only."""
    if isinstance(inputs, list):
        return [_from_files(pipeline, each, given) for each in inputs]
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(inputs)
        file.flush()
        return pipeline(file.name, **given)


class _Speaking:
    """The text-to-audio pipeline, whose voices are given as JSON and whose sounds are clipped."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def __call__(self, inputs: Any, **given: Any) -> Any:
        forward = given.get("forward_params", {})
        if "speaker_embeddings" in forward:
            forward["speaker_embeddings"] = torch.tensor([forward["speaker_embeddings"]])
        made = self._pipeline(inputs, **given)
        for one in made if isinstance(made, list) else [made]:
            one["audio"] = one["audio"].clip(-1, 1)
        return made


def differences(one: Any, other: Any, path: str = "output") -> list[str]:
    """List where two outputs differ; numbers may differ by `TOLERANCE`."""
    if isinstance(one, Image.Image):
        return [] if alike(one, other) else [f"{path}: another image"]
    if isinstance(one, np.ndarray) and isinstance(other, torch.Tensor):
        other = other.numpy()
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.shape == other.shape:
        far = ~np.isclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)
        return [f"{path}: {far.sum()} of {far.size} numbers"] if far.any() else []
    one, other = _plain(one), _plain(other)
    if isinstance(one, float) and isinstance(other, float):
        close = math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return [] if close else [f"{path}: {one} and {other}"]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [
            found for name in one for found in differences(one[name], other[name], f"{path}.{name}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            found
            for index, (left, right) in enumerate(zip(one, other, strict=True))
            for found in differences(left, right, f"{path}[{index}]")
        ]
    same = type(one) is type(other) and one == other
    return [] if same else [f"{path}: {one!r:.200} and {other!r:.200}"]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)):
        return value.tolist()
    return value
