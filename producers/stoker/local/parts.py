"""Tries the optional parts of a worker by importing them, in a process that may die of it.

Whether a package is installed says little: one that was built for another PyTorch fails when it is
imported, and takes down whatever imports it.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

# transformers imports torchvision and torchaudio with this, wherever they are installed.
PIPELINES: Final = "transformers.pipelines"
# Importing torch and a dozen others from a cold disk takes its time.
_SECONDS: Final = 180.0
_MAX_REASON: Final = 300


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What became of one part.

    Attributes:
        module: Its module.
        installed: Whether it is there at all.
        error: Why it cannot be imported; None if it can, or is not there.
    """

    module: str
    installed: bool
    error: str | None = None

    @property
    def works(self) -> bool:
        """Whether it was imported."""
        return self.installed and self.error is None


def try_parts(modules: Sequence[str]) -> list[Tried]:
    """Import modules one after another in another process, a new one for each that dies.

    Args:
        modules: Their names.

    Returns:
        What became of each, in their order.
    """
    installed = [module for module in modules if find_spec(module.partition(".")[0]) is not None]
    errors: dict[str, str | None] = {}
    while left := [module for module in installed if module not in errors]:
        said, end = _import(left)
        errors.update(said)
        if len(said) < len(left):
            errors[left[len(said)]] = end
    return [
        Tried(module=module, installed=module in installed, error=errors.get(module))
        for module in modules
    ]


def _import(modules: Sequence[str]) -> tuple[dict[str, str | None], str]:
    """Give what a process said of the modules that it got through, and how it ended."""
    command = [sys.executable, "-m", "stoker_workers", "parts", *modules]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        output, end = done.stdout, _end(done.returncode)
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else ""
        end = f"importing it took more than {_SECONDS:.0f} s"
    said: dict[str, str | None] = {}
    for line in output.splitlines():
        # Some libraries greet when they are imported.
        if line.startswith('{"module"'):
            told = json.loads(line)
            said[told["module"]] = told["error"] and told["error"][:_MAX_REASON]
    return said, end


def _end(code: int) -> str:
    return f"the process that imported it died of signal {-code}" if code < 0 else f"exit {code}"
