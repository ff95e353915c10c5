"""Files of a package of the package index, fetched once into a cache folder and never imported."""

import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stoker.local.errors import FetchFailed, ProcessDied
from stoker.local.processes import Process
from stoker.local.stop import Pause

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Package:
    """One file or folder inside one release of a package.

    Attributes:
        name: The package.
        version: Its release.
        file: The file that is wanted, relative to where packages are installed.
        sha256: The file's SHA-256, in hexadecimal.
        options: Further arguments of `pip install`.
    """

    name: str
    version: str
    file: str
    sha256: str
    options: Sequence[str] = ()


def cached(package: Package, cache: Path) -> Path | None:
    """Give a package's file if it is in the cache."""
    file = _home(package, cache) / package.file
    return file if file.is_file() else None


def fetch(package: Package, cache: Path, *, pause: Pause = time.sleep) -> Path:
    """Make sure that a package's file is in the cache.

    pip does the work, so an index, a proxy or a certificate of the user's (PIP_INDEX_URL,
    PIP_EXTRA_INDEX_URL …) is used. Nothing of the package is run: only wheels are taken, without
    what they depend on.

    Args:
        package: What is wanted.
        cache: Where packages are kept.
        pause: Sleeps while pip works.

    Returns:
        The file.

    Raises:
        FetchFailed: pip could not fetch it, or the file is not the one that was expected.
    """
    if found := cached(package, cache):
        return found
    home = _home(package, cache)
    home.parent.mkdir(parents=True, exist_ok=True)
    # Beside its home, so that the move there is one step: what is in the cache is whole.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=home.parent) as fetching:
        _install(package, Path(fetching), pause)
        target = Path(fetching, "files")
        _check(package, target / package.file)
        if found := cached(package, cache):  # another process was faster
            return found
        if home.exists():
            shutil.rmtree(home)
        target.rename(home)
    return home / package.file


def _home(package: Package, cache: Path) -> Path:
    return cache / "packages" / f"{package.name}-{package.version}"


def _install(package: Package, fetching: Path, pause: Pause) -> None:
    pip = Process(
        "pip",
        [
            *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"),
            *("--no-deps", "--no-compile", "--only-binary", ":all:", *package.options),
            *("--target", str(fetching / "files"), f"{package.name}=={package.version}"),
        ],
        log=fetching / "pip.log",
    )
    try:
        pip.finish(pause)
    except ProcessDied as error:
        raise FetchFailed(
            f"the package {package.name} {package.version} could not be fetched: is there a "
            f"network, and does pip reach its package index (PIP_INDEX_URL, PIP_PROXY)? {error}"
        ) from None


def _check(package: Package, file: Path) -> None:
    if not file.is_file():
        raise FetchFailed(f"the package {package.name} {package.version} holds no {package.file}")
    digest = hashlib.sha256()
    with file.open("rb") as data:
        while chunk := data.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != package.sha256:
        raise FetchFailed(
            f"{package.file} of the package {package.name} {package.version} is not the file that "
            f"this version of Stoker was made for (its SHA-256 is {digest.hexdigest()}); nothing "
            f"of it was kept"
        )
