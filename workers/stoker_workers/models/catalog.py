"""The rooms of all tasks by name, and how a model is loaded for one of them."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from stoker_config.models_file import ModelEntry
from stoker_config.settings import load_settings
from stoker_config.sizes import in_words
from stoker_tasks.errors import ModelLoadFailed, UnknownTask
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.progress import UNWATCHED, Progress, at_once
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.device import Device
from stoker_workers.models.extensions import custom_pipeline
from stoker_workers.models.files import find_files
from stoker_workers.models.loading import load_pipeline
from stoker_workers.models.rooms import (
    answering,
    audio,
    deciding,
    image,
    image_words,
    multimodal,
    rewriting,
    text,
    video,
)
from stoker_workers.models.rooms.room import Room
from stoker_workers.models.weights import expected_memory, taken_memory

ROOMS: Final[Mapping[str, Room]] = MappingProxyType(
    {
        **text.ROOMS,
        **answering.ROOMS,
        **deciding.ROOMS,
        **rewriting.ROOMS,
        **image.ROOMS,
        **image_words.ROOMS,
        **video.ROOMS,
        **audio.ROOMS,
        **multimodal.ROOMS,
    }
)


def load_in_steps(
    key: ModelKey,
    device: Device,
    entry: ModelEntry | None = None,
    progress: Progress = UNWATCHED,
    cache_dir: Path | None = None,
) -> Generator[int, None, Adapter]:
    """Load a model for a task, once there is memory for it.

    Args:
        key: The task, the model, its revision and its parts.
        device: Where to put it.
        entry: How the models file lists it; as it is if None.
        progress: Is told of it.
        cache_dir: Where converted files are kept; the settings' if None.

    Yields:
        How many bytes it will take: goes on when they are free.

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
    entry = entry or ModelEntry(model=key.model)
    recipe = replace(room.recipe, pipeline=custom_pipeline(entry.loading, room.recipe.pipeline))
    # What a model that was given up held until now.
    device.release_memory()
    progress.step("fetching", timed=False)
    files = find_files(key, entry, recipe.roles, cache_dir or load_settings().cache_dir)
    folders = [
        files.own.path,
        *(files.parts[role].path for role in ("vocoder",) if role in files.parts),
    ]
    expected = sum(expected_memory(folder, entry.loading, device) for folder in folders)
    _check_limit(key, entry, expected)
    yield expected
    before = device.allocated()
    pipeline = load_pipeline(key.task, recipe, files, device, entry.loading)
    size = taken_memory(pipeline.model, getattr(pipeline, "vocoder", None))
    # What quantisation keeps beside the weights only the allocator knows; but passes of other
    # models that run meanwhile count there as well.
    size = max(size, min(device.allocated() - before, 2 * size))
    _check_limit(key, entry, size)
    progress.took(size)
    return room.adapter(pipeline, files.name, device)


def load(
    key: ModelKey, device: Device, entry: ModelEntry | None = None, cache_dir: Path | None = None
) -> Adapter:
    """Load a model for a task at once, where nothing else is loaded; see `load_in_steps`."""
    return at_once(load_in_steps(key, device, entry, cache_dir=cache_dir))


def _check_limit(key: ModelKey, entry: ModelEntry, size: int) -> None:
    if entry.memory is not None and size > entry.memory:
        raise ModelLoadFailed(
            f"{key.listed or key.model} takes {in_words(size)} of memory, and the models file "
            f"allows it {in_words(entry.memory)}",
            {"memory": size, "limit": entry.memory},
        )
