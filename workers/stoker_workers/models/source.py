"""Where a model's files are: a local folder, or the hub's copy of one commit."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

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

# What a checkpoint is wanted for: a whole model, a model that is part of another, what reads inputs
# for a model, an adapter to lay over one, or what its files say of it.
Kind = Literal["model", "part", "processor", "adapter", "facts"]

# No pickles: a `.bin` or `.pt` file can run code when it is read.
_READERS: Final = ["*.json", "*.txt", "*.model", "*.jinja", "*.spm", "*.tiktoken", "README.md"]
_WEIGHTS: Final = ["*.safetensors"]
_PICKLES: Final = ["*.bin", "*.bin.index.json"]
_CODE: Final = ["*.py"]
# Other formats of the same weights, which repositories keep in folders of their own.
_UNWANTED: Final = ["*/*.safetensors", "*/*.bin", "onnx/*", "openvino/*", "original/*"]
# The file without which a folder is none of its kind.
_SIGN: Final = {
    "model": "config.json",
    "part": "config.json",
    "adapter": "adapter_config.json",
    "facts": "config.json",
}
_WEIGHTY: Final = frozenset({"model", "part", "adapter"})
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files of a checkpoint are wanted.

    Attributes:
        kind: What for.
        pickles: Whether weights may be pickles.
        code: Whether Python files are wanted, to be run.
        gguf: The GGUF file that holds the weights, instead of all else.
    """

    kind: Kind = "model"
    pickles: bool = False
    code: bool = False
    gguf: str | None = None

    @property
    def patterns(self) -> list[str]:
        """The names of the files, as patterns."""
        if self.gguf is not None:
            return [self.gguf]
        return [
            *_READERS,
            *self.weights,
            *(_CODE if self.code else []),
        ]

    @property
    def weights(self) -> list[str]:
        """The names of the files that may hold weights; none where none are wanted."""
        if self.kind not in _WEIGHTY:
            return []
        return [*_WEIGHTS, *(_PICKLES if self.pickles else [])]


MODEL: Final = Wanted()


def locate(model: str, revision: str | None = None, wanted: Wanted = MODEL) -> Source:
    """Find a model's files, downloading them where they are on the hub.

    Args:
        model: A local folder or a hub ID.
        revision: A branch, tag or commit of the hub; the default branch if None.
        wanted: Which of its files.

    Returns:
        The folder and its commit.

    Raises:
        UnknownModel: There is no such folder and no such model on the hub, or a revision of a
            folder is asked for.
        ModelLoadFailed: The model exists, but its files cannot be had.
    """
    folder = Path(model).expanduser()
    if model and folder.is_dir():
        if revision not in (None, LOCAL):
            raise UnknownModel(
                f"{model} is a folder, which has no revision {revision!r}: leave the revision out",
                {"model": model, "revision": revision},
            )
        return Source(_checked(folder, model, wanted), LOCAL)
    if not _HUB_ID.fullmatch(model):
        raise UnknownModel(
            f"{model[:200]!r} is neither a folder on this worker nor a hub ID such as org/name",
            {"model": model[:200]},
        )
    path = _download(model, revision, wanted)
    return Source(_checked(path, model, wanted), path.name)


def _download(model: str, revision: str | None, wanted: Wanted) -> Path:
    facts = {"model": model, "revision": revision}
    at = f"{model}@{revision}" if revision else model
    try:
        return Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=wanted.patterns,
                ignore_patterns=_UNWANTED,
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


def _checked(folder: Path, model: str, wanted: Wanted) -> Path:
    details = {"model": model[:200]}
    if wanted.gguf is not None:
        if not (folder / wanted.gguf).is_file():
            raise UnknownModel(f"{model[:200]!r} has no file {wanted.gguf}", details)
        return folder
    sign = _SIGN.get(wanted.kind)
    if sign is not None and not (folder / sign).is_file():
        what = "an adapter" if wanted.kind == "adapter" else "a model"
        raise UnknownModel(
            f"{model[:200]!r} has no {sign}: it is not {what} in the transformers format", details
        )
    weights = wanted.weights
    if weights and not any(file for each in weights for file in folder.glob(each)):
        raise ModelLoadFailed(
            f"{model[:200]!r} has no weights in the safetensors format; other formats can run "
            "code when they are read: convert it with save_pretrained(), or allow it by name in "
            "the models file (loading.allow_pickle)",
            details,
        )
    return folder
