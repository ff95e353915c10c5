"""All tasks by name: the only list of them."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from stoker_tasks import audio, image, speaking, text
from stoker_tasks.errors import UnknownTask
from stoker_tasks.spec import TaskSpec

CATALOG: Mapping[str, TaskSpec] = MappingProxyType(
    {spec.name: spec for family in (text, image, audio, speaking) for spec in family.TASKS}
)
ALIASES: Mapping[str, str] = MappingProxyType(
    {alias: spec.name for spec in CATALOG.values() for alias in spec.aliases}
)


def find(task: str) -> TaskSpec:
    """Find a task by its name or alias.

    Args:
        task: A name such as `text-classification`, or an alias such as `ner`.

    Returns:
        The task's spec.

    Raises:
        UnknownTask: No task has this name; the message lists those near it.
    """
    spec = CATALOG.get(ALIASES.get(task, task))
    if spec is not None:
        return spec
    near = get_close_matches(task, [*CATALOG, *ALIASES], n=3, cutoff=0.6) or sorted(CATALOG)
    raise UnknownTask(
        f"no task has the name {task[:64]!r}; near it: {', '.join(near)}", {"tasks": list(near)}
    )
