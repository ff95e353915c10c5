"""Custom pipelines and custom pre- and postprocessing, which installed packages offer.

A package names them as entry points in its metadata, under these groups; the models file says for
which model each is used:

    [project.entry-points."stoker.pipelines"]
    polite = "my_package:PoliteClassification"
    [project.entry-points."stoker.preprocess"]
    clean = "my_package:clean"
    [project.entry-points."stoker.postprocess"]
    round = "my_package:round_scores"
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any, Final

import transformers

from stoker_config.models_file import Loading
from stoker_tasks.errors import ModelLoadFailed
from stoker_tasks.job import Job
from stoker_workers.engine.model import Chunk, Ended, Follow, Output, Prepared, WarmModel

PIPELINES: Final = "stoker.pipelines"
PREPROCESS: Final = "stoker.preprocess"
POSTPROCESS: Final = "stoker.postprocess"

# A job as it comes in, and as the task is to see it.
Before = Callable[[Job], Job]
# The job as the task saw it and its output, and the output as the caller is to see it: JSON-safe.
After = Callable[[Job, Any], Any]


def custom_pipeline(loading: Loading, usual: Any) -> Any:
    """Give the pipeline class of a model.

    Args:
        loading: How it is loaded.
        usual: The class of its task.

    Raises:
        ModelLoadFailed: No package offers the class that `loading` names, or it is not of the
            task's kind.
    """
    if loading.pipeline is None:
        return usual
    found = _find(PIPELINES, loading.pipeline)
    if not (isinstance(found, type) and issubclass(found, transformers.Pipeline)):
        raise ModelLoadFailed(
            f"the entry point {loading.pipeline} of {PIPELINES} is no subclass of "
            f"transformers.Pipeline: derive it from {usual.__name__}"
        )
    return found


def extended(model: WarmModel, loading: Loading) -> WarmModel:
    """Put a model's custom pre- and postprocessing around it.

    Args:
        model: The loaded model.
        loading: How it is loaded.

    Raises:
        ModelLoadFailed: No package offers what `loading` names.
    """
    if loading.preprocess is None and loading.postprocess is None:
        return model
    before = _find(PREPROCESS, loading.preprocess) if loading.preprocess else None
    after = _find(POSTPROCESS, loading.postprocess) if loading.postprocess else None
    return _Extended(model, before, after)


@dataclass(frozen=True, slots=True)
class _State:
    job: Job
    prepared: Prepared


class _Extended:
    def __init__(self, model: WarmModel, before: Before | None, after: After | None) -> None:
        self._model = model
        self._before = before
        self._after = after

    @property
    def name(self) -> str:
        return self._model.name

    def is_slow(self, job: Job) -> bool:
        return self._model.is_slow(self._cleaned(job))

    def preprocess(self, job: Job, media: Mapping[str, bytes]) -> Prepared:
        job = self._cleaned(job)
        prepared = self._model.preprocess(job, media)
        return replace(prepared, state=_State(job, prepared))

    def forward(
        self,
        chunks: Sequence[Chunk],
        ended: Ended | None = None,
        follow: Sequence[Follow | None] = (),
    ) -> Sequence[Any]:
        return self._model.forward(chunks, ended, follow)

    def postprocess(self, job: Job, prepared: Prepared, outputs: Sequence[Any]) -> Output:
        seen: _State = prepared.state
        output = self._model.postprocess(seen.job, seen.prepared, outputs)
        if self._after is None:
            return output
        return replace(output, value=self._after(seen.job, output.value))

    def _cleaned(self, job: Job) -> Job:
        return job if self._before is None else self._before(job)


def _find(group: str, name: str) -> Any:
    offered = entry_points(group=group)
    if name not in offered.names:
        there = ", ".join(sorted(offered.names)) or "none"
        raise ModelLoadFailed(
            f"no installed package offers {name} under {group}; there is: {there}. Install the "
            "package where the worker runs"
        )
    try:
        return offered[name].load()
    # The package is somebody's own code.
    except Exception as error:
        raise ModelLoadFailed(
            f"the entry point {name} of {group} cannot be imported: {type(error).__name__}: {error}"
        ) from error
