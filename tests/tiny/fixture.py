"""The fixture that gives tests the tiny checkpoints, built once and kept while nothing changes."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.tiny import (
    answering,
    audio,
    deciding,
    image,
    image_words,
    listening,
    multimodal,
    regions,
    rewriting,
    speaking,
    text,
    tokens,
    video,
)

_SEED = 7

FAMILIES = (
    text,
    answering,
    deciding,
    rewriting,
    image,
    image_words,
    regions,
    video,
    audio,
    listening,
    speaking,
    multimodal,
)
BUILDERS: dict[str, Callable[[], list[Any]]] = {
    build.__name__: build for family in FAMILIES for build in family.BUILDERS
}

TinyModel = Callable[[str], str]


@pytest.fixture(scope="session")
def tiny(pytestconfig: pytest.Config) -> TinyModel:
    """Give the folder of a tiny checkpoint by its name, building it when it is first asked for."""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    sources = [Path(str(module.__file__)).read_bytes() for module in (*FAMILIES, tokens)]
    versions = f"{torch.__version__} {transformers.__version__} {_SEED}".encode()
    digest = hashlib.sha256(b"".join([*sources, versions])).hexdigest()[:16]
    assert pytestconfig.cache is not None
    root = pytestconfig.cache.mkdir(f"tiny-{digest}")

    def folder(name: str) -> str:
        built = root / name
        if not built.is_dir():
            build(name, built)
        return str(built)

    return folder


def build(name: str, folder: Path) -> None:
    """Build a tiny checkpoint. The folder appears whole or not at all."""
    making = Path(tempfile.mkdtemp(dir=folder.parent))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        for part in BUILDERS[name]():
            part.save_pretrained(making)
    try:
        os.rename(making, folder)
    except OSError:
        # Another test process was faster.
        shutil.rmtree(making)
