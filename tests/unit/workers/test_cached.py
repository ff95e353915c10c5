"""Which jobs are equal, and what becomes of an answer that is not all there any more."""

from pathlib import Path
from typing import Any

import pytest

from stoker import Media, make_job
from stoker_tasks.result import Artifact, Success, reference
from stoker_workers.engine.cached import CachedAnswers
from stoker_workers.engine.model import ModelKey
from tests.doubles.store import MemoryResults, MemoryStore

KEY = ModelKey("text-classification", "org/name")


def digest(
    task: str = "text-classification", makers: str = "", loaded: str = "org/name@1", **fields: Any
) -> str:
    answers = CachedAnswers(MemoryResults(), MemoryStore(), makers)
    return answers.digest(make_job(task, {"inputs": "a", **fields}), KEY, loaded, {})


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"a": "b"}},
        {"retention": 7},
        {"cache": True},
        {"priority": "low"},
        {"model": "org/name", "revision": "main"},
    ],
)
def test_what_does_not_touch_the_output_does_not_matter(fields: Any) -> None:
    assert digest(**fields) == digest()


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": "b"},
        {"inputs": ["a"]},
        {"parameters": {"top_k": 2}},
        {"parameters": {"top_k": None}},
        {"loaded": "org/name@2"},
        {"makers": "another version"},
        {"task": "fill-mask"},
    ],
)
def test_what_may_touch_the_output_does(fields: dict[str, Any]) -> None:
    assert digest(**fields) != digest()


def test_a_file_counts_by_its_bytes_however_it_travels() -> None:
    answers = CachedAnswers(MemoryResults(), MemoryStore())
    beside, other = f"artifact:{'1' * 32}", f"artifact:{'2' * 32}"

    def of(inputs: Any) -> str:
        job = make_job("image-classification", {"inputs": inputs})
        return answers.digest(job, KEY, "m@1", {beside: b"picture", other: b"other"})

    assert of(b"picture") == of(Media(uri=beside))
    assert of(b"picture") != of(Media(uri=other))
    assert of([b"picture", b"other"]) != of([b"other", b"picture"])


def test_a_folder_counts_by_its_files(tmp_path: Path) -> None:
    answers = CachedAnswers(MemoryResults(), MemoryStore())
    job, key = make_job("fill-mask", {"inputs": "a"}), ModelKey("fill-mask", str(tmp_path))
    (tmp_path / "weights").write_bytes(b"1")

    before = answers.digest(job, key, "m@local", {})
    assert answers.digest(job, key, "m@local", {}) == before
    (tmp_path / "weights").write_bytes(b"22")

    assert answers.digest(job, key, "m@local", {}) != before


def success(**fields: Any) -> dict[str, Any]:
    return Success(task="fill-mask", model="m@1", **fields).to_wire()


def test_an_answer_comes_with_copies_of_its_artifacts() -> None:
    store, results = MemoryStore(), MemoryResults()
    answers = CachedAnswers(results, store)
    picture = store.put(b"picture")
    beside = store.put(b'{"picture": "%s"}' % picture.encode())
    results.stored["job"] = success(
        output=reference(beside, 9),
        artifacts=[Artifact(uri=picture, mime_type="image/png", size=7)],
    )

    assert answers.find("digest") is None
    answers.note("digest", "job")
    found = answers.find("digest")

    assert found is not None
    [copy] = found.artifacts
    assert (copy.mime_type, copy.data) == ("image/png", b"picture")
    assert copy.uri != picture
    assert found.value == {"picture": copy.uri}


@pytest.mark.parametrize("lost", [0, 1])
def test_an_answer_that_is_not_all_there_is_none(lost: int) -> None:
    store, results = MemoryStore(), MemoryResults()
    answers = CachedAnswers(results, store)
    picture, beside = store.put(b"picture"), store.put(b"{}")
    results.stored["job"] = success(
        output=reference(beside, 2),
        artifacts=[Artifact(uri=picture, mime_type="image/png", size=7)],
    )
    answers.note("digest", "job")
    assert answers.find("digest") is not None

    del store.kept[(picture, beside)[lost]]

    assert answers.find("digest") is None
