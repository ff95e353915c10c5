"""All tasks by name: the only list of them."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from stoker_tasks import (
    answering,
    audio,
    deciding,
    image,
    image_words,
    multimodal,
    regions,
    rewriting,
    speaking,
    text,
    video,
    writing,
)
from stoker_tasks.errors import UnknownTask
from stoker_tasks.spec import TaskSpec

_FAMILIES: Final = (
    text,
    writing,
    answering,
    deciding,
    rewriting,
    image,
    image_words,
    regions,
    video,
    audio,
    speaking,
    multimodal,
)

CATALOG: Mapping[str, TaskSpec] = MappingProxyType(
    {spec.name: spec for family in _FAMILIES for spec in family.TASKS}
)
ALIASES: Mapping[str, str] = MappingProxyType(
    {alias: spec.name for spec in CATALOG.values() for alias in spec.aliases}
)

# `translation_en_to_fr`; Celery's names of tasks have one sign for - and _.
_LANGUAGES: Final = re.compile(r"translation[_-]([A-Za-z]+)[_-]to[_-]([A-Za-z]+)")


def find(task: str) -> TaskSpec:
    """Find a task by its name or alias.

    Args:
        task: A name such as `text-classification`, an alias such as `ner`, or the name of a
            translation with its languages, such as `translation_en_to_fr`.

    Returns:
        The task's spec.

    Raises:
        UnknownTask: No task has this name; the message lists those near it.
    """
    spec = CATALOG.get(task)
    if spec is None:
        name = "translation" if _LANGUAGES.fullmatch(task) else ALIASES.get(task, task)
        spec = CATALOG.get(name)
    if spec is not None:
        return spec
    near = get_close_matches(task, [*CATALOG, *ALIASES], n=3, cutoff=0.6) or sorted(CATALOG)
    raise UnknownTask(
        f"no task has the name {task[:64]!r}; near it: {', '.join(near)}", {"tasks": list(near)}
    )


def implied_parameters(task: str) -> dict[str, str]:
    """Give the parameters that a task's name implies: the languages of `translation_en_to_fr`."""
    named = _LANGUAGES.fullmatch(task)
    return {"src_lang": named[1], "tgt_lang": named[2]} if named else {}
