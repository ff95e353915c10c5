"""What an operator asks of a client: its workers, their models, dead letters and webhooks."""

from functools import partial
from typing import TYPE_CHECKING, Any

from stoker import dead, models
from stoker.dead import DeadLetter
from stoker.server import Server
from stoker_tasks.catalog import find

if TYPE_CHECKING:
    from stoker.events import Webhooks
    from stoker_config.serving import Serving


class Operating:
    """What a client shows of a deployment, and does to it."""

    _server: Server

    def dead_letters(self) -> list[DeadLetter]:
        """List the jobs that were given up because each worker that ran them died."""
        return dead.read_all(self._server.redis)

    def dead_letter(self, job_id: str) -> dict[str, Any] | None:
        """Read the fields of a job that was given up: what it asked for, inputs included.

        Returns:
            The fields as they travelled, where large inputs stand by the names of their artifacts;
            None if there is no such dead letter.
        """
        return dead.read_fields(self._server.redis, job_id)

    def requeue(self, job_id: str) -> bool:
        """Put a dead letter back on its queue, under its old ID and with no deaths counted.

        Returns:
            Whether there was such a dead letter.
        """
        do = partial(dead.requeue, self._server.redis, job_id, self._server.clock.now())
        return apart.repeat(job_id, do, bool) if (apart := self._server.apart) else do()

    def discard(self, job_id: str) -> bool:
        """Forget a dead letter; its job's failure stays readable until it expires.

        Returns:
            Whether there was such a dead letter.
        """
        return dead.discard(self._server.redis, job_id)

    @property
    def webhooks(self) -> "Webhooks":
        """The events of webhooks: list them, look at one, have some posted again."""
        return self._server.webhooks

    def workers(self, *, starting: bool = False) -> "list[Serving]":
        """List the living workers, what they serve and where each of their models stands.

        Args:
            starting: List those as well that still load their first models.
        """
        return self._server.registry.workers(starting=starting)

    def preload_model(
        self,
        model: str,
        *,
        task: str | None = None,
        revision: str | None = None,
        pool: str | None = None,
    ) -> list[models.Answer]:
        """Have all workers of a pool begin to load a model; see `stoker.models.preload`."""
        task = task and find(task).name
        pool = pool or self._server.settings.pool
        return models.preload(self._server.app, self._server.registry, pool, model, revision, task)

    def evict_model(self, model: str, *, pool: str | None = None) -> list[models.Answer]:
        """Have all workers of a pool give up a model; see `stoker.models.evict`."""
        pool = pool or self._server.settings.pool
        return models.evict(self._server.app, self._server.registry, pool, model)
