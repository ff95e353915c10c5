"""What one task takes, gives, and needs alike to share a batch, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stoker_tasks.job import Job

HandOver = Callable[[Any], Any]

# Why parameters that several pipelines have are left out.
PADDED = "a job's answer is that of its inputs alone, and Stoker pads them as its batch needs"
TENSORS = "a result holds JSON and artifacts, never tensors"


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """The declaration of one task.

    Attributes:
        job: The typed job; its `task` is the task's name.
        summary: One clause for lists and documentation.
        inputs: What `inputs` may be, in words that complete "inputs must be …".
        output: The type of `output` for one input; a list input gives a list of it.
        forward_parameters: The parameters that reach the forward pass, and must therefore be equal
            for two jobs to share one. All others differ freely within a batch.
        aliases: Other names, as transformers has them.
        hand_over: What the next task of a Celery chain takes from this one's `output`; None where
            a next task would want nothing of it.
        left_out: Parameters of the task's pipeline that jobs may not set, each with the reason: a
            clause that a refusal of it and the documentation quote.
        needs: Modules that a worker must be able to import to serve the task, beyond torch and
            transformers.
        example: Arguments of `job` that make a runnable job.
    """

    job: type[Job]
    summary: str
    inputs: str
    output: Any
    forward_parameters: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    hand_over: HandOver | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    example: dict[str, Any]

    @property
    def name(self) -> str:
        """The task's name, as transformers spells it."""
        return self.job.task

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters that the task takes, in alphabetical order."""
        parameters = self.job.model_fields["parameters"].annotation
        assert parameters is not None
        return tuple(sorted(parameters.model_fields))
