"""What the engine asks of a warm model: three calls, one for each stage."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stoker_tasks.job import Job

# Says of each row of a forward pass, in their order, whether it need not go on.
Ended = Callable[[], Sequence[bool]]
# Gives the text of one row as far as it is certain by now, and all of it once its pass is over.
# Called from any thread.
Text = Callable[[], str]
# Takes, before a row's first step, the way to read its text while it grows.
Follow = Callable[[Text], None]


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What a warm model is loaded by.

    Attributes:
        task: The task's name.
        model: A hub ID or a local folder.
        revision: A branch, tag or commit; the default branch if None.
        components: The checkpoints of its parts that are not its own: pairs of role and
            `name` or `name@revision`, in the order of the roles.
        listed: Its name in the models file, whose options it is loaded with; empty if it is not
            listed there.
    """

    task: str
    model: str
    revision: str | None = None
    components: tuple[tuple[str, str], ...] = ()
    listed: str = ""


def parse_checkpoint(text: str) -> tuple[str, str | None]:
    """Part `name@revision` into the name and the revision, which may be missing.

    A folder may have an @ in its name, a hub ID never has.
    """
    if Path(text).expanduser().is_dir():
        return text, None
    name, _, revision = text.partition("@")
    return name, revision or None


@dataclass(frozen=True, slots=True)
class Chunk:
    """One row of a forward pass: a whole input, or a part of one that the task splits.

    Attributes:
        features: What the model room made of it; the engine never looks inside.
        length: Its size along the padded axis, at least 1: tokens of text, or as many pixels or
            frames as cost about as much as a token.
        key: What must be equal for two chunks of one model to share a forward pass.
    """

    features: Mapping[str, Any]
    length: int
    key: Hashable = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A preprocessed job.

    Attributes:
        chunks: Its rows, at least one.
        state: What the model room needs again to postprocess; the engine never looks inside.
    """

    chunks: Sequence[Chunk]
    state: Any = None


@dataclass(frozen=True, slots=True)
class ArtifactData:
    """A binary output, before it is stored.

    Attributes:
        uri: The name it will have in the artifact store; the output refers to it already.
        mime_type: Such as `application/x-npy`.
        data: The bytes.
    """

    uri: str
    mime_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Output:
    """A postprocessed job.

    Attributes:
        value: The JSON-safe output.
        artifacts: The binary outputs that it refers to.
    """

    value: Any = field(repr=False)
    artifacts: Sequence[ArtifactData] = ()


class WarmModel(Protocol):
    """A loaded model with its pre- and postprocessors.

    `preprocess` and `postprocess` may be called from several threads at once; `forward` is called
    by the one thread that owns the device. Each raises a `StokerError` for what is the job's own
    fault, and anything else for a fault of the forward pass or the model.
    """

    @property
    def name(self) -> str:
        """The model's name and commit: `name@commit`."""

    def is_slow(self, job: Job) -> bool:
        """Say whether it may take many seconds to preprocess a job: other jobs pass it then."""

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        """Turn a job's inputs into rows.

        Args:
            job: The checked job of this model's task.
            media: The bytes of those inputs that the message only names, by URI or URL.

        Raises:
            InvalidInput: The inputs cannot be read, or are longer than the model can read.
        """

    def forward(
        self,
        chunks: Sequence[Chunk],
        ended: Ended | None = None,
        follow: Sequence[Follow | None] = (),
    ) -> Sequence[Any]:
        """Run rows of one key through the model in one pass.

        Args:
            chunks: The rows.
            ended: To be asked between the steps of a pass that has several: the output of a row
                that has ended does not matter, and need not be made.
            follow: For each row, in their order, who follows its text while it grows, if anybody
                does; none if nobody follows any.

        Returns:
            One output for each row, in their order, as if it had run alone; or a `StokerError`
            where it has none, which is believed of a row that runs alone, and else run again.
        """

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        """Turn the outputs of all of a job's rows, in their order, into the job's output."""
