"""Where a model's files are: a local folder, or the hub's copy of one commit."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from stoker_tasks.errors import ModelLoadFailed, UnknownModel

LOCAL: Final = "local"

# No pickles: a `.bin` or `.pt` file runs code when it is read.
_WANTED: Final = ["*.json", "*.txt", "*.model", "*.safetensors", "*.jinja", "*.spm", "*.tiktoken"]
# Other formats of the same weights, which repositories keep in folders of their own.
_UNWANTED: Final = ["*/*.safetensors", "onnx/*", "openvino/*", "original/*"]
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files.

    Attributes:
        path: The folder that holds them.
        commit: The hub's commit of them; `local` for a folder of the operator's own.
    """

    path: Path
    commit: str


def locate(model: str, revision: str | None = None) -> Source:
    """Find a model's files, downloading them where they are on the hub.

    Args:
        model: A local folder or a hub ID.
        revision: A branch, tag or commit of the hub; the default branch if None.

    Returns:
        The folder and its commit.

    Raises:
        UnknownModel: There is no such folder and no such model on the hub.
        ModelLoadFailed: The model exists, but its files cannot be had.
    """
    folder = Path(model).expanduser()
    if model and folder.is_dir():
        return Source(_checked(folder, model), LOCAL)
    if not _HUB_ID.fullmatch(model):
        raise UnknownModel(
            f"{model[:200]!r} is neither a folder on this worker nor a hub ID such as org/name",
            {"model": model[:200]},
        )
    path = _download(model, revision)
    return Source(_checked(path, model), path.name)


def _download(model: str, revision: str | None) -> Path:
    facts = {"model": model, "revision": revision}
    at = f"{model}@{revision}" if revision else model
    try:
        return Path(
            snapshot_download(
                model, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED
            )
        )
    except GatedRepoError:
        raise ModelLoadFailed(
            f"{at} is gated: accept its terms on the hub and give the worker a token (HF_TOKEN)",
            facts,
        ) from None
    except RevisionNotFoundError:
        raise UnknownModel(f"{model} has no revision {revision!r} on the hub", facts) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UnknownModel(
            f"the hub has no model {at}, or it is private and the worker has no token (HF_TOKEN)",
            facts,
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise ModelLoadFailed(
            f"{at} is not in this worker's cache and the hub cannot be reached: download it there "
            f"first (hf download {model}), or give a local folder",
            facts,
        ) from None
    # Networks fail in many ways, and the hub's HTTP library is not the same in all its versions.
    except Exception as error:
        raise ModelLoadFailed(
            f"{at} could not be downloaded ({type(error).__name__}): try again later", facts
        ) from error


def _checked(folder: Path, model: str) -> Path:
    if not (folder / "config.json").is_file():
        raise UnknownModel(
            f"{model[:200]!r} has no config.json: it is not a model in the transformers format",
            {"model": model[:200]},
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelLoadFailed(
            f"{model[:200]!r} has no weights in the safetensors format; other formats can run "
            "code when they are read: convert it with save_pretrained()",
            {"model": model[:200]},
        )
    return folder
