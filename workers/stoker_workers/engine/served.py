"""Which model serves a job: the one it names, or the pool's for its task."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

from stoker_config.models_file import ModelEntry
from stoker_tasks.catalog import find
from stoker_tasks.errors import InvalidInput, ModelNotAllowed, Unserved
from stoker_tasks.job import Job
from stoker_workers.engine.model import ModelKey, WarmModel, parse_checkpoint
from stoker_workers.engine.window import Budget


class Get(Protocol):
    """Gives warm models."""

    def __call__(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
        """Give a model, loading it first if it is not warm; see `WarmModels.get`."""


def parse_preload(entries: Sequence[str]) -> list[ModelKey]:
    """Read preload entries of the form `task=model` or `task=model@revision`.

    Raises:
        UnknownTask: No task has the name before `=`.
        InvalidInput: An entry has another form.
    """
    parsed = []
    for entry in entries:
        task, equals, model = entry.partition("=")
        model, revision = parse_checkpoint(model)
        if not equals or not model:
            raise InvalidInput(f"preload {entry!r}: write task=model or task=model@revision")
        parsed.append(ModelKey(find(task).name, model, revision))
    return parsed


class ServedModels:
    """The models of one worker, as the engine asks for them.

    Args:
        get: Gives a warm model, loading it first if need be.
        preload: What the settings have loaded first; the first one of a task serves its jobs that
            name no model.
        allowed: The only models that are served, beside the listed ones; any if empty.
        listed: The models of the models file that this worker's pool serves, by name. Those that
            are preloaded or a default name their tasks.
        only: Whether only listed models are served.
        lacking: For each task that this worker cannot run, what would have to be installed.
    """

    def __init__(
        self,
        get: Get,
        *,
        preload: Sequence[ModelKey] = (),
        allowed: Sequence[str] = (),
        listed: Mapping[str, ModelEntry] | None = None,
        only: bool = False,
        lacking: Mapping[str, str] | None = None,
    ) -> None:
        self._get = get
        self._listed = dict(listed or {})
        self._lacking = dict(lacking or {})
        self._free = frozenset(allowed)
        self._closed = only or bool(allowed)
        first = [self.find(key.task, key.model, key.revision) for key in preload]
        self._preload = [
            *first,
            *(key for key in self._keys(lambda entry: entry.preload) if key not in first),
        ]
        self._pinned = [*first, *self._keys(lambda entry: entry.pin)]
        by_default = [*first, *self._keys(lambda entry: entry.default)]
        self._defaults = {key.task: key for key in reversed(by_default)}

    @property
    def preload(self) -> Sequence[ModelKey]:
        """The models to load before jobs are taken."""
        return self._preload

    @property
    def pinned(self) -> Sequence[ModelKey]:
        """The models that are kept once they are loaded."""
        return self._pinned

    @property
    def defaults(self) -> dict[str, str]:
        """For each task, the model of jobs that name none, as jobs may name it."""
        return {task: key.listed or key.model for task, key in self._defaults.items()}

    @property
    def allowed(self) -> tuple[str, ...]:
        """The only models that are served, as jobs may name them; any if empty."""
        if not self._closed:
            return ()
        listed = {entry.model for entry in self._listed.values()} | self._listed.keys()
        return tuple(sorted(self._free | listed))

    def key_of(self, job: Job) -> ModelKey:
        """Say which model serves a job.

        Raises:
            Unserved: This worker lacks what the job's task needs.
            InvalidInput: The job names no model, and the pool has none for its task; or it names
                a revision but no model, or one of a model that has its own.
            ModelNotAllowed: The job names a model that this pool does not serve.
        """
        if job.task in self._lacking:
            raise Unserved(
                f"this worker cannot run {job.task}: {self._lacking[job.task]}", {"task": job.task}
            )
        key = self._key_of(job)
        given = job.components.given()
        if not given:
            return key
        found = {role: self._checkpoint(role, text) for role, text in given.items()}
        return replace(key, components=tuple(sorted((dict(key.components) | found).items())))

    def find(self, task: str, model: str, revision: str | None) -> ModelKey:
        """Say what a model is loaded by: as it is listed, or by its own name.

        Raises:
            InvalidInput: The listed model has a revision of its own, or does not serve the task.
            ModelNotAllowed: This pool does not serve the model.
        """
        entry = self._listed.get(model)
        if entry is not None:
            if revision is not None:
                raise InvalidInput(
                    f"{model} is a name in the models file, which says its revision: leave out "
                    "revision"
                )
            if entry.tasks and task not in entry.tasks:
                raise InvalidInput(
                    f"{model} is listed for {', '.join(entry.tasks)}, not for {task}",
                    {"tasks": list(entry.tasks)},
                )
            return _listed_key(task, model, entry)
        for name, each in self._same(model, revision):
            if not each.tasks or task in each.tasks:
                return _listed_key(task, name, each)
        if self._closed and model not in self._free:
            raise self._not_allowed()
        return ModelKey(task, model, revision)

    def tasks_of(self, model: str) -> tuple[str, ...]:
        """Give the tasks for which the models file lists a model, if it does."""
        same = [self._listed[model]] if model in self._listed else []
        same += [entry for _, entry in self._same(model, None)]
        return same[0].tasks if same else ()

    def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
        """Give a model, loading it first if it is not warm. Never blocks.

        Args:
            key: What it is loaded by.
            wary: Whether its load may kill the process.
        """
        return self._get(key, wary=wary)

    def bound(self, key: ModelKey, budget: Budget) -> Budget:
        """Keep a batch budget within what the models file allows the model."""
        entry = self._listed.get(key.listed)
        if entry is None:
            return budget
        return replace(
            budget,
            rows=min(budget.rows, entry.batch_rows or budget.rows),
            tokens=min(budget.tokens, entry.batch_tokens or budget.tokens),
        )

    def _key_of(self, job: Job) -> ModelKey:
        if job.model is not None:
            return self.find(job.task, job.model, job.revision)
        if job.revision is not None:
            raise InvalidInput("revision is given without model")
        default = self._defaults.get(job.task)
        if default is None:
            raise InvalidInput(
                f"the job names no model, and this pool has no default model for {job.task}: "
                "give model=",
                {"task": job.task},
            )
        return default

    def _checkpoint(self, role: str, text: str) -> str:
        """Say where a job's component is, if the pool allows it: a checkpoint is a model."""
        model, revision = parse_checkpoint(text)
        entry = self._listed.get(model) if revision is None else None
        entry = entry or next((each for _, each in self._same(model, revision)), None)
        if entry is not None:
            return f"{entry.model}@{entry.revision}" if entry.revision else entry.model
        if self._closed and model not in self._free:
            raise self._not_allowed(f"components.{role} names another")
        return text

    def _same(self, model: str, revision: str | None) -> Iterator[tuple[str, ModelEntry]]:
        """List the entries that have this checkpoint."""
        for name, entry in self._listed.items():
            if entry.model == model and revision in (None, entry.revision):
                yield name, entry

    def _keys(self, wanted: Callable[[ModelEntry], bool]) -> list[ModelKey]:
        return [
            _listed_key(task, name, entry)
            for name, entry in self._listed.items()
            if wanted(entry)
            for task in entry.tasks
        ]

    def _not_allowed(self, why: str = "") -> ModelNotAllowed:
        return ModelNotAllowed(
            f"this pool serves only: {', '.join(self.allowed)}" + (f"; {why}" if why else ""),
            {"allowed": list(self.allowed)},
        )


def _listed_key(task: str, name: str, entry: ModelEntry) -> ModelKey:
    components = tuple(sorted(entry.components.given().items()))
    return ModelKey(task, entry.model, entry.revision, components, name)
