"""What a task's room is: its components and the adapter that runs them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.device import Device
from stoker_workers.models.loading import Recipe


@dataclass(frozen=True, slots=True)
class Room:
    """Who serves a task.

    Attributes:
        recipe: The task's components.
        adapter: Makes the warm model of the loaded pipeline, the model's name and its device.
    """

    recipe: Recipe
    adapter: Callable[[Any, str, Device], Adapter]
