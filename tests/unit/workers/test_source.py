from pathlib import Path
from typing import Any
from unittest.mock import Mock

import huggingface_hub
import pytest
from huggingface_hub import errors

from stoker_tasks.errors import ModelLoadFailed, UnknownModel
from stoker_workers.models import source
from stoker_workers.models.source import locate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    return tmp_path


def test_a_local_folder(folder: Path) -> None:
    found = locate(str(folder))
    assert (found.path, found.commit) == (folder, "local")


def test_a_folder_has_no_revisions_but_the_one_that_results_name(folder: Path) -> None:
    assert locate(str(folder), "local") == locate(str(folder))
    with pytest.raises(UnknownModel, match="no revision 'v9': leave the revision out"):
        locate(str(folder), "v9")


def test_a_folder_without_a_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"config\.json"):
        locate(str(tmp_path))


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelLoadFailed, match="safetensors"):
        locate(str(folder))


@pytest.mark.parametrize("model", ["/no/such/folder", "../nowhere", "~/nowhere", "a/b/c", ""])
def test_neither_a_folder_nor_a_hub_id(model: str) -> None:
    with pytest.raises(UnknownModel, match="neither a folder"):
        locate(model)


def test_the_hub_is_asked_for_no_pickles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(model: str, **settings: Any) -> str:
        asked.update(settings, model=model)
        return str(folder)

    monkeypatch.setattr(source, "snapshot_download", download)
    found = locate("org/name", "v1")
    assert (found.path, found.commit) == (folder, folder.name)
    assert (asked["model"], asked["revision"]) == ("org/name", "v1")
    assert "*.safetensors" in asked["allow_patterns"]
    assert not [each for each in asked["allow_patterns"] if "bin" in each or "pt" in each]


def _answer(status: int) -> Any:
    return Mock(status_code=status, headers={})


@pytest.mark.parametrize(
    ("raised", "wanted", "cure"),
    [
        (errors.RepositoryNotFoundError("x", response=_answer(404)), UnknownModel, "HF_TOKEN"),
        (errors.RevisionNotFoundError("x", response=_answer(404)), UnknownModel, "revision 'v1'"),
        (errors.GatedRepoError("x", response=_answer(403)), ModelLoadFailed, "accept its terms"),
        (errors.LocalEntryNotFoundError("x"), ModelLoadFailed, "hf download org/name"),
        (errors.OfflineModeIsEnabled("x"), ModelLoadFailed, "hf download org/name"),
        (errors.HfHubHTTPError("x", response=_answer(503)), ModelLoadFailed, "try again later"),
        (ConnectionError("x"), ModelLoadFailed, "try again later"),
        (RuntimeError("x"), ModelLoadFailed, "try again later"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_hub_refuses(
    raised: Exception, wanted: type[Exception], cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(model: str, **_: Any) -> str:
        raise raised

    monkeypatch.setattr(source, "snapshot_download", download)
    with pytest.raises(wanted, match=cure):
        locate("org/name", "v1")


def test_offline_and_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        source, "snapshot_download", lambda *a, **k: real(*a, cache_dir=tmp_path, **k)
    )
    with pytest.raises(ModelLoadFailed, match="hf download org/name"):
        locate("org/name")
