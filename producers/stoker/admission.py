"""Refuses at submit what nobody would run: an unknown pool, an unserved task or model."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stoker.status import explain
from stoker.whereabouts import Whereabouts
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
    """What a client knows of the serving registry. Safe for threads.

    Args:
        whereabouts: Where the client looks for results.
    """

    def __init__(self, whereabouts: Whereabouts) -> None:
        self._whereabouts = whereabouts
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
            ResultsElsewhere: One of its workers stores results elsewhere.
        """
        if self.is_stale(pool):
            self.learn(registry.workers(), registry.known_pools())
        self.judge(pool, wanted)

    def is_stale(self, pool: str) -> bool:
        """Tell whether the registry is to be read before jobs for this pool are judged."""
        seen = self._seen
        return seen is None or time.monotonic() - seen.at > _SECONDS or pool not in seen.pools

    def learn(self, workers: "list[Serving]", pools: list[str]) -> None:
        """Take in what the registry says.

        Args:
            workers: The living workers.
            pools: The pools that were served lately.
        """
        self._seen = _Seen(time.monotonic(), workers, pools)

    def judge(self, pool: str, wanted: Iterable[tuple[str, str | None]]) -> None:
        """Make sure that somebody will run jobs, by what was learnt; see `check`."""
        seen = self._seen
        assert seen is not None
        if pool not in seen.pools:
            raise Unserved(
                f"no worker has served the pool {pool} within the last day; known pools: "
                f"{', '.join(seen.pools) or 'none'}. Start a worker for it, or submit with "
                "allow_unserved=True",
                {"pool": pool, "pools": seen.pools},
            )
        of_pool = [worker for worker in seen.workers if pool in worker.pools]
        if not of_pool:
            return
        self._whereabouts.check_all(of_pool)
        for task, model in wanted:
            reason = explain(seen.workers, pool, task, model)
            if reason is not None:
                kind = ModelNotAllowed if reason.about_model else Unserved
                raise kind(
                    f"{reason.text}. Submit with allow_unserved=True to let the job wait",
                    {"pool": pool, "task": task},
                )
