"""The checkpoints that a model is made of: its own, and those of its parts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from stoker_config.models_file import ModelEntry
from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Components
from stoker_workers.engine.model import ModelKey, parse_checkpoint
from stoker_workers.models.gguf import convert
from stoker_workers.models.source import Kind, Source, Wanted, locate

_KINDS: Final[Mapping[str, Kind]] = {"vocoder": "part", "adapter": "adapter"}


@dataclass(frozen=True, slots=True)
class Files:
    """Where a model's files are.

    Attributes:
        model: The model's name, for messages.
        own: The model's own checkpoint.
        parts: Those of its parts that have one of their own, by role.
        trusted: The roles whose code may be run: the operator's choice, never a job's.
        name: All checkpoints with their commits, as a result names them.
    """

    model: str
    own: Source
    parts: Mapping[str, Source]
    trusted: frozenset[str]
    name: str

    def folder(self, role: str) -> Path:
        """Give the folder that a part is read from."""
        return self.parts.get(role, self.own).path

    def trusts(self, role: str) -> bool:
        """Tell whether code in a part's folder may be run."""
        return (role if role in self.parts else "model") in self.trusted


def find_files(key: ModelKey, entry: ModelEntry, roles: Iterable[str], cache_dir: Path) -> Files:
    """Find a model's checkpoints, downloading those that are on the hub.

    Args:
        key: The model and its parts.
        entry: How an operator lists it.
        roles: The parts that its task can have.
        cache_dir: Where a converted GGUF file is kept.

    Raises:
        InvalidInput: The task has no such part.
        UnknownModel: A checkpoint was not found.
        ModelLoadFailed: One was found, but its files cannot be had.
    """
    roles = sorted(roles)
    given = dict(key.components)
    unknown = sorted(given.keys() - set(roles))
    if unknown:
        nameable = [role for role in roles if role in Components.model_fields]
        raise InvalidInput(
            f"{key.task} has no {', '.join(unknown)}; its components are {', '.join(nameable)}",
            {"task": key.task, "components": nameable},
        )
    loading, listed = entry.loading, entry.components.given()
    trusted = {"model", *(role for role, text in given.items() if listed.get(role) == text)}
    wanted = Wanted(
        pickles=loading.allow_pickle, code=loading.trust_remote_code, gguf=loading.gguf_file
    )
    own = locate(key.model, key.revision, wanted)
    name = f"{key.model}@{own.commit}"
    if loading.gguf_file is not None:
        own = _converted(own, loading.gguf_file, cache_dir)
    parts = {}
    for role, text in given.items():
        model, revision = parse_checkpoint(text)
        own_choice = role in trusted
        parts[role] = locate(
            model,
            revision,
            replace(
                wanted,
                kind=_KINDS.get(role, "processor"),
                pickles=wanted.pickles and own_choice,
                code=wanted.code and own_choice,
                gguf=None,
            ),
        )
        name += f"+{role}={model}@{parts[role].commit}"
    trusting = frozenset(trusted) if loading.trust_remote_code else frozenset[str]()
    return Files(key.model, own, parts, trusting, name)


def _converted(source: Source, gguf_file: str, cache_dir: Path) -> Source:
    file = (source.path / gguf_file).resolve()
    facts = file.stat()
    # A file of the operator's own may change under its name.
    mark = f"{facts.st_size:x}-{facts.st_mtime_ns:x}"
    folder = cache_dir / "gguf" / f"{Path(gguf_file).stem}-{source.commit[:12]}-{mark}"
    return Source(convert(source.path / gguf_file, folder), source.commit)
