"""A virtual environment for each peer: made once by pip, kept in the cache, never by a test."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# As constraints.txt has them for Stoker: all systems run the same model library.
_MODEL_LIBRARIES: Final = ("torch==2.13.0", "transformers==5.23.0")
_INSTALL_SECONDS: Final = 1800.0
_REASON: Final = 300


class Unavailable(Exception):
    """A peer cannot be run on this machine; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What one peer needs.

    Attributes:
        name: The peer's name, which is its package's.
        requirements: What pip is asked for.
    """

    name: str
    requirements: tuple[str, ...]

    def python(self, cache: Path, *, install: bool) -> Path:
        """Give the interpreter of the environment.

        Args:
            cache: Where environments are kept.
            install: Make the environment if it is not there.

        Raises:
            Unavailable: It is not there, or could not be made.
        """
        home = cache / "bench" / "environments" / f"{self.name}-{self._digest()}"
        python = home / "bin" / "python"
        if (home / "complete").is_file():
            return python
        if not install:
            raise Unavailable("its environment has not been made yet: run without --no-install")
        # One that was left half-made has no mark that it is complete.
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        try:
            _pip(home, self.requirements)
        except Unavailable:
            shutil.rmtree(home, ignore_errors=True)
            raise
        (home / "complete").touch()
        return python

    def _digest(self) -> str:
        made_of = [*self.requirements, sys.version]
        return hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:12]


CELERY_BATCHES: Final = Environment(
    name="celery-batches",
    requirements=("celery-batches==0.11", "celery[redis]<5.7", *_MODEL_LIBRARIES),
)
LITSERVE: Final = Environment(name="litserve", requirements=("litserve==0.2.19", *_MODEL_LIBRARIES))
MOSEC: Final = Environment(name="mosec", requirements=("mosec==0.9.8", *_MODEL_LIBRARIES))
RAY_SERVE: Final = Environment(
    name="ray-serve", requirements=("ray[serve]==2.60.0", *_MODEL_LIBRARIES)
)


def installed(python: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Read the versions of packages in an environment, leaving out those it lacks."""
    code = (
        "import sys\nfrom importlib.metadata import PackageNotFoundError, version\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, version(name))\n"
        "    except PackageNotFoundError: pass\n"
    )
    done = subprocess.run(
        [python, "-c", code, *packages], capture_output=True, text=True, timeout=60, check=False
    )
    pairs = [line.partition(" ") for line in done.stdout.splitlines()]
    return {name: version for name, _, version in pairs}


def _pip(home: Path, requirements: tuple[str, ...]) -> None:
    # pip reads its index, proxy and certificate from PIP_… variables, as everywhere.
    with tempfile.TemporaryFile() as log:
        for command in (
            [sys.executable, "-m", "venv", str(home)],
            [str(home / "bin" / "python"), "-m", "pip", "install", "--no-input", *requirements],
        ):
            try:
                code = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=_INSTALL_SECONDS,
                    env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                raise Unavailable(f"not installed within {_INSTALL_SECONDS:g} s") from None
            if code != 0:
                log.seek(0)
                lines = log.read().decode(errors="replace").splitlines()
                said = next((line for line in reversed(lines) if "ERROR" in line), "")
                raise Unavailable(f"could not be installed here: {said[:_REASON]}")
