"""What an operator sees of a worker's models, and does to them while it runs."""

from collections.abc import Callable
from dataclasses import dataclass

from stoker_config.serving import ModelState
from stoker_tasks.errors import InvalidInput
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.served import ServedModels
from stoker_workers.engine.warm import WarmModels


@dataclass(frozen=True)
class ModelControl:
    """A worker's models, from outside of the flow. No call blocks.

    Attributes:
        served: Which models the worker serves.
        warm: Those that are loaded.
    """

    served: ServedModels
    warm: WarmModels

    def states(self) -> tuple[ModelState, ...]:
        """Say where each model stands."""
        return self.warm.states()

    def listen(self, changed: Callable[[], None]) -> None:
        """Have a call made whenever a state has changed."""
        self.warm.listen(changed)

    def preload(self, model: str, revision: str | None = None, task: str = "") -> list[ModelKey]:
        """Begin to load a model, if it is not warm.

        Args:
            model: Its name in the models file, a hub ID or a folder.
            revision: Its revision, where it is not listed.
            task: The task to load it for; those of the models file if empty.

        Returns:
            What it is loaded by, once for each task.

        Raises:
            InvalidInput: No task is named, and the models file names none.
            ModelNotAllowed: This worker does not serve the model.
        """
        tasks = [task] if task else self.served.tasks_of(model)
        if not tasks:
            raise InvalidInput(f"say for which task {model} is to be loaded")
        keys = [self.served.find(each, model, revision) for each in tasks]
        for key in keys:
            self.warm.get(key)
        # Whoever asked looks for what comes of it, be the model warm already.
        self.warm.tell()
        return keys

    def evict(self, model: str) -> list[ModelKey]:
        """Give up a model for all its tasks, though it be pinned; when its jobs are done.

        Args:
            model: Its name in the models file, a hub ID or a folder.

        Returns:
            What it was loaded by; nothing if it is not warm.
        """
        return self.warm.evict(lambda key: model in (key.listed, key.model))
