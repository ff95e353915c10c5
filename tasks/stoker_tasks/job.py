"""A request as a caller writes it: one typed class per task, all with these fields."""

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AwareDatetime,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from stoker_tasks import streaming
from stoker_tasks.strict import Strict
from stoker_tasks.webhook import Webhook, WebhookInput

Priority = Literal["high", "normal", "low"]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]
Tenant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")]
IdempotencyKey = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


Checkpoint = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class _Sparse(Strict):
    """Fields of which most jobs set none, and thousands of jobs a second are made or read."""

    @classmethod
    @cache
    def unset(cls) -> Self:
        """Give those of a job that sets none: one object for all such jobs, since it is frozen."""
        return cls()


class Parameters(_Sparse):
    """The keyword arguments of one task's pipeline call, under the pipeline's own names.

    Only what a caller sets is sent: a default is the pipeline's or the model's own, and an
    explicit `None` is not the same as nothing.
    """

    # JSON has no infinity.
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """List what the caller set, as JSON-safe keyword arguments of the pipeline call."""
        return self.model_dump(mode="json", exclude_unset=True)


class Components(_Sparse):
    """Checkpoints of a model's parts, where they are not the model's own.

    Each is a hub ID (`org/name`), a folder of the worker's or a name of its models file; a hub ID
    may have a revision: `org/name@v1`.

    Attributes:
        tokenizer: Where the tokenizer is.
        image_processor: Where the image processor is.
        feature_extractor: Where the feature extractor is.
        processor: Where the processor is, which has several of these in one.
        vocoder: The model that makes sound of spectrograms, for text-to-audio.
        adapter: A PEFT adapter, such as a LoRA, that is laid over the model.
    """

    tokenizer: Checkpoint | None = None
    image_processor: Checkpoint | None = None
    feature_extractor: Checkpoint | None = None
    processor: Checkpoint | None = None
    vocoder: Checkpoint | None = None
    adapter: Checkpoint | None = None

    def given(self) -> dict[str, str]:
        """List those that are set, by their roles."""
        return self.model_dump(exclude_none=True)


class Job(Strict):
    """One typed request. The subclasses add the types of `inputs` and `parameters`.

    Attributes:
        inputs: What the pipeline call takes as its first argument.
        model: A hub ID (`org/name`), a folder of the worker's or a name of its models file; the
            pool's model for the task if absent.
        revision: A branch, tag or commit of the hub; the default branch if absent.
        components: Checkpoints of the model's parts, where they are not its own.
        parameters: The keyword arguments of the pipeline call.
        metadata: Up to 16 pairs of the caller's own (keys to 64, values to 512 characters), given
            back with the result.
        priority: `high`, `normal` or `low`: travels as the Celery message's priority.
        tenant: On whose behalf it runs, up to 64 characters: tenants share a worker's device in
            equal parts, and may be bounded in how many jobs they have waiting.
        webhook: Who is told of the job's start and end: a URL, or an object of `url`, `events` and
            `secret`.
        queue_timeout: Seconds from its submission within which it must be started.
        run_timeout: Seconds from its start within which it must be finished.
        deadline: The time by which it must be finished, with its time zone: after that it is
            neither started nor gone on with, and nobody gets its result.
        retention: Seconds for which the result and its artifacts are kept; as long as the
            deployment's settings say if absent.
        cache: Take the output of an earlier job with the same model, parameters and inputs, and
            let later ones take this one's. A task that generates then needs `do_sample=False`.
        stream: Hand its text out while it is generated, for one input of a task that generates
            text.
        idempotency_key: The caller's own name of the request, up to 255 characters: submitted
            twice, it is one job. Each tenant's keys are its own.
    """

    task: ClassVar[str]
    # Whether the task generates a text, token by token.
    streams: ClassVar[bool] = False

    inputs: Any = Field(repr=False)
    model: str | None = None
    revision: str | None = None
    components: Components = Field(default_factory=Components.unset)
    parameters: Parameters = Field(default_factory=Parameters.unset, repr=False)
    metadata: Metadata = Field(default_factory=dict, repr=False)
    priority: Priority = "normal"
    tenant: Tenant | None = None
    webhook: WebhookInput | None = Field(default=None, repr=False)
    queue_timeout: Seconds | None = None
    run_timeout: Seconds | None = None
    deadline: AwareDatetime | None = None
    retention: Annotated[int, Field(ge=1)] | None = None
    cache: bool = False
    stream: bool = False

    @model_validator(mode="after")
    def _has_one_answer(self) -> Self:
        if self.cache and getattr(self.parameters, "do_sample", False) is not False:
            raise ValueError("cache=True needs do_sample=False: what is drawn has many answers")
        return self

    @model_validator(mode="after")
    def _can_stream(self) -> Self:
        if self.followed:
            given, streams = self.parameters.given(), type(self).streams
            streaming.check(self.task, self.inputs, given, streams=streams, cache=self.cache)
        return self

    idempotency_key: IdempotencyKey | None = Field(default=None, repr=False)

    @property
    def followed(self) -> bool:
        """Whether somebody wants its text while it is generated."""
        return self.stream or (self.webhook is not None and self.tells_output)

    @property
    def tells_output(self) -> bool:
        """Whether its webhook is told of its text while it is generated."""
        return isinstance(self.webhook, Webhook) and "job.output" in self.webhook.events
