"""The task that needs torchvision, and other tasks where it is installed, in a child process."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from stoker.local.packages import fetch
from stoker_config.settings import child_environment
from tests.support.packages import fetching
from tests.support.torchvision import PACKAGE
from tests.support.worker import ROOT


@pytest.fixture
def found_at(cache_dir: Path) -> list[str]:
    """Where torchvision is, if it is not installed."""
    if find_spec("torchvision"):
        return []
    with fetching():
        # In a folder of its own: a torchvision that does not fit its torch breaks transformers.
        return [str(fetch(PACKAGE, cache_dir).parents[2])]


@pytest.mark.timeout(600)
def test_masks_and_processors_of_torchvision(found_at: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "tests/parity/with_torchvision.py", "-q"]
    # What is compiled of it need not load here.
    command += ["-p", "tests.support.torchvision", "-W", "ignore:Failed to load image:UserWarning"]
    environment = child_environment()
    path = [*found_at, *filter(None, [environment.get("PYTHONPATH")])]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**environment, "PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=570,
    )
    assert done.returncode == 0, done.stdout
