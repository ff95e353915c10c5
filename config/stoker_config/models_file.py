"""The models file: which models a deployment serves, and how each of them is loaded."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from stoker_config.sizes import Size
from stoker_tasks.catalog import find
from stoker_tasks.errors import StokerError
from stoker_tasks.job import Checkpoint, Components
from stoker_tasks.wire import queue_name

# No slash and no @: a name must not be taken for a hub ID, a folder or a revision.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[^/\\]+\.gguf$")]
EntryPoint = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Names = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Loading(_Table):
    """How a model is loaded. Only an operator may say so: jobs cannot.

    Attributes:
        dtype: The number format; the device's own choice if absent.
        device_map: How accelerate spreads a model over devices, such as `auto`; on the worker's
            own device if absent.
        attention: The attention implementation; transformers' own choice if absent.
        quantization: How weights are made smaller while they are loaded.
        gguf_file: A GGUF file among the model's files, which is converted once and then loaded.
        allow_pickle: Whether weights may be read from pickles (`.bin`), which are older, and safe
            only as far as torch's restricted reader is.
        trust_remote_code: Whether Python code that comes with the model is run.
        pipeline: An entry point of the group `stoker.pipelines`: the pipeline class to use.
        preprocess: One of `stoker.preprocess`: a function that each job passes first.
        postprocess: One of `stoker.postprocess`: a function that each output passes last.
    """

    dtype: Literal["auto", "float32", "float16", "bfloat16"] | None = None
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | None = None
    attention: (
        Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None
    ) = None
    quantization: Literal["torchao-int8", "bitsandbytes-8bit", "bitsandbytes-4bit"] | None = None
    gguf_file: FileName | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False
    pipeline: EntryPoint | None = None
    preprocess: EntryPoint | None = None
    postprocess: EntryPoint | None = None


class ModelEntry(_Table):
    """One model of the file.

    Attributes:
        model: A hub ID (`org/name`) or a folder of the worker's.
        tasks: The tasks that it serves. If none is named, it is found out where it must be known,
            to preload the model or to make it a default.
        revision: A branch, tag or commit of the hub; the default branch if absent.
        components: Checkpoints of its parts, where they are not its own.
        pools: The pools that serve it; all if empty.
        default: Whether it serves the jobs of its tasks that name no model.
        preload: Whether it is loaded before the worker takes jobs.
        pin: Whether it is kept once it is loaded, however long it is not used.
        memory: The most memory that it may take; more, and it is not served.
        batch_rows: The most rows of one of its forward passes.
        batch_tokens: The most padded tokens of one of its forward passes.
        loading: How it is loaded.
    """

    model: Checkpoint
    tasks: Names = ()
    revision: Checkpoint | None = None
    components: Components = Field(default_factory=Components)
    pools: Names = ()
    default: bool = False
    preload: bool = False
    pin: bool = False
    memory: Size | None = None
    batch_rows: int | None = Field(default=None, ge=1)
    batch_tokens: int | None = Field(default=None, ge=1)
    loading: Loading = Field(default_factory=Loading)

    @field_validator("tasks")
    @classmethod
    def _by_name(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_said(find, task).name for task in tasks)

    @field_validator("pools")
    @classmethod
    def _pool_names(cls, pools: tuple[str, ...]) -> tuple[str, ...]:
        for pool in pools:
            _said(queue_name, pool)
        return pools

    def serves(self, pool: str) -> bool:
        """Tell whether the workers of a pool serve it."""
        return not self.pools or pool in self.pools


class ModelsFile(_Table):
    """All of the file.

    Attributes:
        only: Whether nothing but the models of the file is served.
        models: The models, by the names under which jobs may ask for them.
    """

    only: bool = False
    models: dict[Name, ModelEntry] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_default(self) -> Self:
        seen: dict[tuple[str, str], str] = {}
        for name, entry in self.models.items():
            for place in _places(entry) if entry.default else ():
                other = next((seen[each] for each in _clashes(place, seen)), None)
                if other is not None:
                    raise ValueError(
                        f"models.{name}.default: {other} is the default for {place[0]} already"
                    )
                seen[place] = name
        return self

    def of_pool(self, pool: str) -> dict[str, ModelEntry]:
        """List the models that a pool's workers serve, by name and in the order of the file."""
        return {name: entry for name, entry in self.models.items() if entry.serves(pool)}


def read_models_file(path: Path | None) -> ModelsFile:
    """Read a models file.

    Args:
        path: The file; nothing is listed if None.

    Raises:
        ValueError: It cannot be read, or says something that it may not; the message names the
            file and the key.
    """
    if path is None:
        return ModelsFile()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the models file {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"the models file {path} is not TOML: {error}") from None
    try:
        return ModelsFile.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_problems(error))
        raise ValueError(f"the models file {path}: {problems}") from None


def _problems(error: ValidationError) -> Iterator[str]:
    for found in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in found["loc"] if part != "[key]")
        what = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden":
            what = "there is no such key"
        yield f"{where}: {what}" if where else what


def _places(entry: ModelEntry) -> Iterator[tuple[str, str]]:
    for task in entry.tasks:
        for pool in entry.pools or ("*",):
            yield task, pool


def _clashes(place: tuple[str, str], seen: dict[tuple[str, str], str]) -> Iterator[tuple[str, str]]:
    task, pool = place
    for other in seen:
        if other[0] == task and (pool == "*" or other[1] in ("*", pool)):
            yield other


def _said(check: Any, name: str) -> Any:
    try:
        return check(name)
    except StokerError as error:
        raise ValueError(error.message) from None
