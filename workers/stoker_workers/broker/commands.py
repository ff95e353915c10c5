"""Celery remote-control commands of a worker's own: load a model, give one up.

`app.control.broadcast("stoker_preload", {"model": …}, destination=[…], reply=True)` reaches living
workers; they answer at once, and the registry tells what comes of it.
"""

from collections.abc import Callable
from typing import Any, Final

from celery.worker.control import control_command

from stoker_tasks.errors import StokerError
from stoker_workers.engine.control import ModelControl
from stoker_workers.engine.model import ModelKey

PRELOAD: Final = "stoker_preload"
EVICT: Final = "stoker_evict"


def attach(worker: Any, models: ModelControl | None) -> None:
    """Let a worker's models be controlled."""
    worker.stoker_models = models


@control_command(
    name=PRELOAD,
    args=[("model", str), ("revision", str), ("task", str)],
    signature="MODEL [REVISION] [TASK]",
)
def preload(state: Any, model: str, revision: str | None = None, task: str = "") -> dict[str, Any]:
    """Begin to load a model."""
    return _answer(state, lambda models: models.preload(model, revision or None, task))


@control_command(name=EVICT, args=[("model", str)], signature="MODEL")
def evict(state: Any, model: str) -> dict[str, Any]:
    """Give a model up when its jobs are done."""
    return _answer(state, lambda models: models.evict(model))


def _answer(state: Any, do: Callable[[ModelControl], list[ModelKey]]) -> dict[str, Any]:
    models: ModelControl | None = getattr(state.consumer.controller, "stoker_models", None)
    if models is None:
        return {"error": "this worker's models cannot be controlled"}
    try:
        keys = do(models)
    except StokerError as error:
        return {"error": error.message, "type": str(error.type)}
    return {"ok": [{"task": key.task, "model": key.listed or key.model} for key in keys]}
