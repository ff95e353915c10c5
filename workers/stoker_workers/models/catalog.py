"""The rooms of all tasks by name, and how a model is loaded for one of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from stoker_tasks.errors import UnknownTask
from stoker_workers.engine.model import ModelKey
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.device import Device
from stoker_workers.models.loading import load_pipeline
from stoker_workers.models.rooms import audio, image, text
from stoker_workers.models.rooms.room import Room
from stoker_workers.models.source import locate

ROOMS: Final[Mapping[str, Room]] = MappingProxyType({**text.ROOMS, **image.ROOMS, **audio.ROOMS})


def load(key: ModelKey, device: Device) -> Adapter:
    """Load a model for a task.

    Args:
        key: The task, the model and its revision.
        device: Where to put it.

    Returns:
        The warm model.

    Raises:
        UnknownTask: No room serves the task.
        UnknownModel: The model's files were not found.
        ModelLoadFailed: They were found, but cannot be loaded for this task.
    """
    room = ROOMS.get(key.task)
    if room is None:
        raise UnknownTask(f"this worker has no room for {key.task}; it has {', '.join(ROOMS)}")
    # What a model that was given up held until now.
    device.release_memory()
    source = locate(key.model, key.revision)
    pipeline = load_pipeline(key.task, room.recipe, source.path, key.model, device)
    return room.adapter(pipeline, f"{key.model}@{source.commit}", device)
