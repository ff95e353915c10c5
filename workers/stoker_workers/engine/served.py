"""Which model serves a job: the one it names, or the pool's for its task."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from stoker_tasks.catalog import find
from stoker_tasks.errors import InvalidInput, ModelNotAllowed
from stoker_workers.engine.model import ModelKey, WarmModel


def parse_preload(entries: Sequence[str]) -> list[ModelKey]:
    """Read preload entries of the form `task=model` or `task=model@revision`.

    Raises:
        UnknownTask: No task has the name before `=`.
        InvalidInput: An entry has another form.
    """
    parsed = []
    for entry in entries:
        task, equals, model = entry.partition("=")
        revision = ""
        # A folder may have an @ in its name, a hub ID never has.
        if not Path(model).is_dir():
            model, _, revision = model.partition("@")
        if not equals or not model:
            raise InvalidInput(f"preload {entry!r}: write task=model or task=model@revision")
        parsed.append(ModelKey(find(task).name, model, revision or None))
    return parsed


class ServedModels:
    """The models of one worker, as the engine asks for them.

    Args:
        get: Gives a warm model, loading it first if need be.
        defaults: For each task, the model of jobs that name none.
        allowed: The only models that are served; any if empty.
    """

    def __init__(
        self,
        get: Callable[[ModelKey], "Future[WarmModel]"],
        defaults: Mapping[str, ModelKey],
        allowed: Sequence[str] = (),
    ) -> None:
        self._get = get
        self._defaults = defaults
        self._allowed = frozenset(allowed)

    def key_of(self, task: str, model: str | None, revision: str | None) -> ModelKey:
        """Say which model serves a job.

        Raises:
            InvalidInput: The job names no model, and the pool has none for its task; or it names
                a revision but no model.
            ModelNotAllowed: The job names a model that this pool does not serve.
        """
        if model is None:
            if revision is not None:
                raise InvalidInput("revision is given without model")
            default = self._defaults.get(task)
            if default is None:
                raise InvalidInput(
                    f"the job names no model, and this pool has no default model for {task}: "
                    "give model=",
                    {"task": task},
                )
            return default
        if self._allowed and model not in self._allowed:
            raise ModelNotAllowed(
                f"this pool serves only: {', '.join(sorted(self._allowed))}",
                {"allowed": sorted(self._allowed)},
            )
        return ModelKey(task, model, revision)

    def get(self, key: ModelKey) -> "Future[WarmModel]":
        """Give a model, loading it first if it is not warm. Never blocks."""
        return self._get(key)
