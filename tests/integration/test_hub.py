"""The hub's files, fetched by a process as a worker fetches them, from a hub on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker_config.sizes import MIB
from tests.support import hub
from tests.support.hub import Hub, Repo
from tests.support.worker import ROOT
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]

NAME = "org/classifier"
PROGRAM = """
import json, sys
from stoker_tasks.errors import StokerError
from stoker_workers.models.source import locate
for model, revision in json.loads(sys.argv[1]):
    try:
        found = locate(model, revision)
        print(json.dumps({"commit": found.commit, "path": str(found.path)}))
    except StokerError as error:
        print(json.dumps({"error": str(error.type), "message": error.message}))
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Hub]:
    with hub.running() as running:
        yield running


@pytest.fixture
def repo(served: Hub, tiny: TinyModel) -> Repo:
    """A model with two commits; the first has a tag."""
    files = hub.files_of(tiny("bert_classifier"))
    served.repos[NAME] = Repo(tag="text-classification")
    served.repos[NAME].commit({**files, "README.md": b"the first"}, "v1")
    extra = {"pytorch_model.bin": b"pickle", "evil.py": b"raise SystemExit", "model.onnx": b"o"}
    served.repos[NAME].commit({**files, **extra})
    served.asked.clear()
    return served.repos[NAME]


def locate(
    served: Hub, cache: Path, *wanted: tuple[str, str | None], **variables: str
) -> list[dict[str, Any]]:
    """Have a process of its own locate models."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(wanted)],
        env={**_environment(served, cache), **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _environment(served: Hub, cache: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HF_ENDPOINT": served.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def test_a_revision_becomes_a_commit_and_only_what_is_safe_is_fetched(
    served: Hub, repo: Repo, tmp_path: Path
) -> None:
    main, tagged = locate(served, tmp_path, (NAME, None), (NAME, "v1"))

    assert main["commit"] == repo.names["main"]
    assert tagged["commit"] == repo.names["v1"] != main["commit"]
    assert (Path(tagged["path"]) / "README.md").read_bytes() == b"the first"
    fetched = {path.rpartition("/")[2] for method, path, _ in served.asked if method == "GET"}
    assert "model.safetensors" in fetched
    assert not fetched & {"pytorch_model.bin", "evil.py", "model.onnx"}


def test_what_is_there_is_not_fetched_again_and_is_enough_offline(
    served: Hub, repo: Repo, tmp_path: Path
) -> None:
    [first] = locate(served, tmp_path, (NAME, "v1"))
    served.asked.clear()
    [again] = locate(served, tmp_path, (NAME, "v1"))
    assert again == first
    assert not [path for method, path, _ in served.asked if method == "GET" and "resolve" in path]

    served.asked.clear()
    offline, absent = locate(
        served, tmp_path, (NAME, "v1"), ("org/absent", None), HF_HUB_OFFLINE="1"
    )
    assert offline == first
    assert absent["error"] == "model_load_failed"
    assert "hf download org/absent" in absent["message"]
    assert served.asked == []


def test_a_cut_download_goes_on_where_it_was(served: Hub, tmp_path: Path) -> None:
    # The hub's library keeps what it has got in chunks of this size.
    chunk = 10 * MIB
    weights = b"".join(bytes([each]) * MIB for each in range(24))
    served.repos["org/large"] = Repo()
    served.repos["org/large"].commit({"config.json": b"{}", "model.safetensors": weights})
    served.cut.add("model.safetensors")
    served.asked.clear()

    [found] = locate(served, tmp_path, ("org/large", None))

    ranges = [each for _, path, each in served.asked if path.endswith("safetensors") and each]
    assert ranges == [f"bytes={chunk}-"]
    assert (Path(found["path"]) / "model.safetensors").read_bytes() == weights


def test_what_the_hub_does_not_have_or_give(served: Hub, repo: Repo, tmp_path: Path) -> None:
    served.repos["org/gated"] = Repo(gated=True)
    served.repos["org/gated"].commit(repo.commits[repo.names["main"]])

    missing, revision, gated = locate(
        served, tmp_path, ("org/none", None), (NAME, "v9"), ("org/gated", None)
    )
    [allowed] = locate(served, tmp_path, ("org/gated", None), HF_TOKEN="hf_of_a_test")

    assert missing["error"] == revision["error"] == "unknown_model"
    assert "the hub has no model org/none" in missing["message"]
    assert "has no revision 'v9'" in revision["message"]
    assert gated["error"] == "model_load_failed"
    assert "accept its terms" in gated["message"]
    assert allowed["commit"] == served.repos["org/gated"].names["main"]


def test_a_hub_that_cannot_be_reached(served: Hub, tmp_path: Path) -> None:
    [found] = locate(served, tmp_path, (NAME, None), HF_ENDPOINT="http://127.0.0.1:9")

    assert found["error"] == "model_load_failed"
    assert f"hf download {NAME}" in found["message"]
