"""What all tasks share on the way from a typed job through the model to its output.

A pipeline class of transformers serves as pre- and postprocessor; collating rows, the forward pass
and splitting its outputs are Stoker's own, because the pipelines do these for one caller at a time.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from transformers.pipelines.base import ChunkPipeline

from stoker_tasks.errors import Internal, InvalidInput, OutOfMemory, StokerError
from stoker_tasks.job import Job
from stoker_workers.engine.forward import is_out_of_memory
from stoker_workers.engine.model import Chunk, Ended, Follow, Output, Prepared
from stoker_workers.models.adapters.collate import freeze
from stoker_workers.models.bounds import check_images, within_memory
from stoker_workers.models.device import Device
from stoker_workers.models.outputs import export

_MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class Stages:
    """A job's parameters, by the stage of the pipeline that reads them."""

    preprocess: Mapping[str, Any]
    forward: Mapping[str, Any]
    postprocess: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a forward pass, before it is a chunk.

    Attributes:
        inputs: The model's inputs, each a tensor of one row.
        length: Its size along the padded axis.
        key: What must be equal to share a pass, beyond the parameters and the inputs' names.
        kept: What goes past the model, from preprocessing to postprocessing.
    """

    inputs: Mapping[str, torch.Tensor]
    length: int
    key: Hashable = ()
    kept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _State:
    """What postprocessing needs again: for each input what was kept of its rows."""

    kept: Sequence[Sequence[Mapping[str, Any]]]
    postprocess: Mapping[str, Any]


class Adapter(ABC):
    """A warm model with the rules of its task.

    Args:
        pipeline: An instance of the task's pipeline class, with the model on its device.
        name: The model's name and commit.
        device: Where the model is.

    Attributes:
        token_size: How many of a row's units cost about as much as one token of text: images and
            sounds are measured in other units.
    """

    token_size: ClassVar[int] = 1

    # Parameters that are Stoker's own, which the pipeline does not know.
    own_parameters: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, pipeline: Any, name: str, device: Device) -> None:
        self._pipeline = pipeline
        self._model = pipeline.model
        self._name = name
        self._device = device
        self._ended: Ended | None = None
        self._follow: Sequence[Follow | None] = ()
        # A tokenizer keeps the truncation and padding of its last call as state: two threads
        # would read each other's.
        self._tokenizer_lock: AbstractContextManager[object] = threading.Lock()

    @property
    def name(self) -> str:
        """The model's name and commit: `name@commit`."""
        return self._name

    def is_slow(self, job: Job) -> bool:
        """Say whether it may take many seconds to preprocess a job."""
        return False

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        """Turn a job's inputs into rows."""
        check_images(job, media)
        values = self._values(job, media)
        with self._tokenizer_lock, _refusing(job):
            stages = self._stages(job)
            rows_of = (self._rows(value, job, stages) for value in values)
            items = within_memory(rows_of)
        parameters = freeze(self._shared(stages.forward))
        chunks = [
            Chunk(
                {
                    "inputs": row.inputs,
                    "parameters": stages.forward,
                    "kept": row.kept,
                    "postprocess": stages.postprocess,
                },
                max(row.length // self.token_size, 1),
                (parameters, tuple(sorted(row.inputs)), row.key),
            )
            for rows in items
            for row in rows
        ]
        kept = [[row.kept for row in rows] for rows in items]
        return Prepared(chunks, _State(kept, stages.postprocess))

    def forward(
        self,
        chunks: Sequence[Chunk],
        ended: Ended | None = None,
        follow: Sequence[Follow | None] = (),
    ) -> Sequence[Any]:
        """Run rows of one key through the model in one pass."""
        # For those whose pass has several steps; only the device's thread comes here.
        self._ended, self._follow = ended, follow
        try:
            with torch.inference_mode():
                return [self._checked(each) for each in self._forward(chunks)]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        finally:
            # It holds the rows, and these hold the model: one that is idle could not be given up.
            self._ended, self._follow = None, ()
        # Only here, outside the handler, is nothing left that holds the pass's tensors.
        self._device.release_memory()
        raise MemoryError(f"{len(chunks)} rows do not fit into the memory of {self._device.name}")

    def _checked(self, output: Any) -> Any:
        """Give a row's output, or an error if its numbers are none.

        The engine blames the row only if this is so when it runs alone: in company, padding or a
        neighbour may have spoiled it.
        """
        values = output.values() if isinstance(output, Mapping) else ()
        for value in values:
            if isinstance(value, torch.Tensor) and bool(torch.isnan(value).any()):
                return Internal(
                    f"{self.name} gave numbers that are none (NaN) for this job: in half precision "
                    "a model may overflow; have it loaded in float32 (dtype in the models file)"
                )
        return output

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        """Turn the outputs of all of a job's rows, in their order, into the job's output."""
        state: _State = prepared.state
        given = iter(outputs)
        with self._tokenizer_lock:
            values = [
                self._finish([{**next(given), **kept} for kept in rows], job, state.postprocess)
                for rows in state.kept
            ]
        return export(self._shape(values, job))

    def sample(self, length: int) -> Chunk | None:
        """Make a row of so many tokens to time passes with; None if the task has no such rows."""
        return None

    @abstractmethod
    def _values(self, job: Job, media: Mapping[str, bytes]) -> Sequence[Any]:
        """Give a job's inputs one by one, as the pipeline's `preprocess` takes them."""

    @abstractmethod
    def _rows(self, value: Any, job: Job, stages: Stages) -> Iterable[Row]:
        """Turn one input into its rows."""

    @abstractmethod
    def _forward(self, chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
        """Run rows through the model: for each what the pipeline's `postprocess` reads of it."""

    def _finish(self, rows: list[dict[str, Any]], job: Job, parameters: Mapping[str, Any]) -> Any:
        """Turn the outputs of one input's rows into its output."""
        if isinstance(self._pipeline, ChunkPipeline):
            return self._pipeline.postprocess(rows, **parameters)
        return self._pipeline.postprocess(rows[0], **parameters)

    def _shape(self, values: list[Any], job: Job) -> Any:
        """Give the outputs the shape that a call of the pipeline gives them."""
        return values if isinstance(job.inputs, list) else values[0]

    def _shared(self, forward: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give those parameters of the forward pass that must be equal within one."""
        return forward

    def _stages(self, job: Job) -> Stages:
        """Sort a job's parameters by stage, as the pipeline's `__call__` does."""
        given = job.parameters.given()
        for name in self.own_parameters:
            given.pop(name, None)
        pipeline = self._pipeline
        preprocess, forward, postprocess = pipeline._sanitize_parameters(**given)
        return Stages(
            {**pipeline._preprocess_params, **preprocess},
            {**pipeline._forward_params, **forward},
            {**pipeline._postprocess_params, **postprocess},
        )

    def _preprocessed(self, value: Any, stages: Stages) -> Iterator[dict[str, Any]]:
        made = self._pipeline.preprocess(value, **stages.preprocess)
        if isinstance(self._pipeline, ChunkPipeline):
            for row in made:
                yield dict(row)
        else:
            yield dict(made)

    def _to_device(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self._device.torch) for name, tensor in batch.items()}


@contextmanager
def refusing_settings() -> Iterator[None]:
    """Turn what `generate` raises about its settings into an error of the jobs: they share them."""
    try:
        yield
    except (ValueError, TypeError) as error:
        message = " ".join(str(error).split())[:_MAX_REASON]
        raise InvalidInput(f"the model refuses these settings of generate(): {message}") from None


def generate(model: Any, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """Run `generate()`, and give the tensor of its sequences alone, on the CPU.

    Raises:
        InvalidInput: It refuses its settings.
    """
    with refusing_settings():
        made = model.generate(**inputs, **settings)
    return (made if isinstance(made, torch.Tensor) else made.sequences).cpu()


@contextmanager
def _refusing(job: Job) -> Iterator[None]:
    """Turn whatever a pipeline raises while it reads a job into the job's own error."""
    try:
        yield
    except StokerError:
        raise
    # Tokenizers raise bare `Exception`, chat templates their own; all of it is about the input.
    except Exception as error:  # noqa: BLE001
        if is_out_of_memory(error):
            raise OutOfMemory(
                "the worker has not enough memory to read this job: make its inputs shorter or "
                "smaller, or send them in several jobs"
            ) from None
        raise InvalidInput(f"{job.task} cannot read this job: {_reason(error, job)}") from None
    except BaseException as error:
        # What a tokenizer's Rust code raises where it finds its settings impossible.
        if type(error).__name__ != "PanicException":
            raise
        raise InvalidInput(f"{job.task} cannot read this job: {_reason(error, job)}") from None


def _reason(error: BaseException, job: Job) -> str:
    """Give an exception's message if it quotes none of the caller's texts, else its type."""
    message = " ".join(str(error).split())
    # Of the parameters, only these are ever quoted.
    words = job.model_dump(
        include={"inputs": True, "parameters": {"hypothesis_template", "tools", "documents"}}
    )
    texts = set(_texts(words))
    if not message or any(text in message for text in texts if text):
        return f"{type(error).__name__} while its inputs were read"
    return message[:_MAX_REASON]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, Iterable):
        for one in value:
            yield from _texts(one)
