"""A request as a caller writes it: one typed class per task, all with these fields."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from stoker_tasks.webhook import WebhookInput

Priority = Literal["high", "normal", "low"]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]


class Parameters(BaseModel):
    """The keyword arguments of one task's pipeline call, under the pipeline's own names.

    Only what a caller sets is sent: a default is the pipeline's or the model's own, and an
    explicit `None` is not the same as nothing.
    """

    # JSON has no infinity.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    def given(self) -> dict[str, Any]:
        """List what the caller set, as JSON-safe keyword arguments of the pipeline call."""
        return self.model_dump(mode="json", exclude_unset=True)


class Job(BaseModel):
    """One typed request. The subclasses add the types of `inputs` and `parameters`.

    Attributes:
        inputs: What the pipeline call takes as its first argument.
        model: A hub ID (`org/name`) or a local folder; the pool's model for the task if absent.
        revision: A branch, tag or commit of the hub; the default branch if absent.
        parameters: The keyword arguments of the pipeline call.
        metadata: Up to 16 pairs of the caller's own (keys to 64, values to 512 characters), given
            back with the result.
        priority: `high`, `normal` or `low`: travels as the Celery message's priority.
        webhook: Who is told of the job's start and end: a URL, or an object of `url`, `events` and
            `secret`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    task: ClassVar[str]

    inputs: Any = Field(repr=False)
    model: str | None = None
    revision: str | None = None
    parameters: Parameters = Field(default_factory=Parameters, repr=False)
    metadata: Metadata = Field(default_factory=dict, repr=False)
    priority: Priority = "normal"
    webhook: WebhookInput | None = Field(default=None, repr=False)
