"""The models of living workers: load one before jobs ask for it, or have one given up.

Celery's remote control carries the wish to each worker of a pool, which answers at once; what comes
of it stands in the serving registry.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stoker_tasks.errors import StokerError, Unserved, by_type

if TYPE_CHECKING:
    from stoker_config.serving import ModelState, Registry

# The names of the workers' commands.
_PRELOAD: Final = "stoker_preload"
_EVICT: Final = "stoker_evict"
# A worker's event loop answers within so many seconds. One that has just become ready listens a
# second later, and what is said before that is lost: so it is told again, which changes nothing.
_SECONDS: Final = 3.0
_TIMES: Final = 3


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one worker said to a wish.

    Attributes:
        worker: The worker's ID.
        tasks: The tasks for which it loads the model, or gives it up; empty if it did not have it.
    """

    worker: str
    tasks: tuple[str, ...]


def preload(
    app: Any, registry: "Registry", pool: str, model: str, revision: str | None, task: str | None
) -> list[Answer]:
    """Have all workers of a pool begin to load a model.

    Args:
        app: The Celery app.
        registry: Who serves what.
        pool: The pool.
        model: The model's name in the models file, a hub ID or a folder of the workers'.
        revision: Its revision, where it is not listed.
        task: The task to load it for; those that the models file names if None.

    Raises:
        Unserved: No worker of the pool is alive, or one did not answer.
        StokerError: A worker refuses: `ModelNotAllowed`, `InvalidInput` …
    """
    wish = {"model": model, "revision": revision, "task": task or ""}
    return _ask(app, registry, pool, _PRELOAD, wish)


def evict(app: Any, registry: "Registry", pool: str, model: str) -> list[Answer]:
    """Have all workers of a pool give up a model, when the jobs that use it are done.

    Args:
        app: The Celery app.
        registry: Who serves what.
        pool: The pool.
        model: The model's name in the models file, a hub ID or a folder of the workers'.

    Raises:
        Unserved: No worker of the pool is alive, or one did not answer.
    """
    return _ask(app, registry, pool, _EVICT, {"model": model})


def is_about(state: "ModelState", model: str) -> bool:
    """Tell whether a state is that of a model, however that was named."""
    return model in (state.name, state.model) or state.model.startswith(f"{model}@")


def _ask(
    app: Any, registry: "Registry", pool: str, command: str, wish: dict[str, Any]
) -> list[Answer]:
    there = [each.worker for each in registry.workers() if pool in each.pools]
    if not there:
        raise Unserved(f"no worker serves the pool {pool}: start one", {"pool": pool})
    said: dict[str, dict[str, Any]] = {}
    silent = there
    for _ in range(_TIMES):
        for reply in app.control.broadcast(
            command,
            arguments=wish,
            destination=silent,
            reply=True,
            timeout=_SECONDS,
            limit=len(silent),
        ):
            said |= reply
        silent = sorted(set(there) - set(said))
        if not silent:
            break
    else:
        raise Unserved(
            f"{', '.join(silent)} did not answer within {_TIMES * _SECONDS:.0f} s: try again"
        )
    return [Answer(worker=worker, tasks=_tasks(worker, said[worker])) for worker in there]


def _tasks(worker: str, reply: dict[str, Any]) -> tuple[str, ...]:
    if "error" in reply:
        kind: type[StokerError] = by_type(reply.get("type", "internal"))
        raise kind(f"{worker}: {reply['error']}", {"worker": worker})
    return tuple(each["task"] for each in reply["ok"])
