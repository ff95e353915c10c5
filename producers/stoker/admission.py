"""Refuses at submit what nobody would run: an unknown pool, an unserved task or model."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stoker.status import explain
from stoker_tasks.errors import ModelNotAllowed, Unserved

if TYPE_CHECKING:
    from stoker_config.serving import Registry, Serving

# For so long the registry is believed to be as it was read.
_SECONDS: Final = 2.0


@dataclass(frozen=True)
class _Seen:
    at: float
    workers: "list[Serving]"
    pools: list[str]


class Admission:
    """What a client knows of the serving registry. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: _Seen | None = None

    def check(
        self, registry: "Registry", pool: str, wanted: Iterable[tuple[str, str | None]]
    ) -> None:
        """Make sure that somebody will run jobs.

        A pool that was served within the last day and has no worker now is down, not unknown: its
        jobs may wait, and their status says why they do.

        Args:
            registry: Who serves what.
            pool: The jobs' pool.
            wanted: Their tasks and models; None for the pool's own model.

        Raises:
            Unserved: The pool is unknown, or none of its living workers serves a task.
            ModelNotAllowed: Its workers serve a fixed list of models without this one.
        """
        seen = self._look(registry, pool)
        if pool not in seen.pools:
            raise Unserved(
                f"no worker has served the pool {pool} within the last day; known pools: "
                f"{', '.join(seen.pools) or 'none'}. Start a worker for it, or submit with "
                "allow_unserved=True",
                {"pool": pool, "pools": seen.pools},
            )
        if not any(pool in worker.pools for worker in seen.workers):
            return
        for task, model in wanted:
            reason = explain(seen.workers, pool, task, model)
            if reason is not None:
                kind = ModelNotAllowed if reason.about_model else Unserved
                raise kind(
                    f"{reason.text}. Submit with allow_unserved=True to let the job wait",
                    {"pool": pool, "task": task},
                )

    def _look(self, registry: "Registry", pool: str) -> _Seen:
        with self._lock:
            seen = self._seen
        now = time.monotonic()
        if seen is None or now - seen.at > _SECONDS or pool not in seen.pools:
            seen = _Seen(now, registry.workers(), registry.known_pools())
            with self._lock:
                self._seen = seen
        return seen
