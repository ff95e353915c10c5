"""Plain Celery and celery-batches as systems under test."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from celery import Celery, group

from benchmarks.peers.model import NOOP
from benchmarks.services import READY_SECONDS, Answer, Bench, Queued, at_root, module, python

_QUEUE: Final = "bench"
_TASK: Final = "bench.run"


class CeleryService(Queued):
    """A worker of a Celery app that knows one task.

    Args:
        bench: Where it runs.
        name: What the table calls it.
        setting: How it is set up, in words.
        model: The embedding model's folder; None for the model that does nothing.
        interpreter: Its environment's Python.
        peer: The module of its app.
        pool: Celery's pool, each with one process or thread.
        **told: What the app is told, such as `prefetch=1`.
    """

    def __init__(
        self,
        bench: Bench,
        name: str,
        setting: str,
        model: str | None,
        *,
        interpreter: str | Path,
        peer: str,
        pool: str,
        **told: float,
    ) -> None:
        super().__init__(bench, name, setting)
        self._model, self._interpreter, self._peer = model, interpreter, peer
        self._pool, self._told = pool, told
        self.batch = int(told.get("batch", 1))

    def command(self) -> Sequence[str]:
        """Start it without the chatter between workers, of which there is only one."""
        quiet = ("--without-gossip", "--without-mingle", "-l", "warning")
        peer = f"benchmarks.peers.{self._peer}"
        pool = ("-P", self._pool, "-c", "1")
        return module(self._interpreter, "celery", "-A", peer, "worker", *pool, *quiet)

    def environment(self) -> dict[str, str]:
        """Tell it broker, model and numbers."""
        told = {f"BENCH_{name.upper()}": f"{value:g}" for name, value in self._told.items()}
        model = self._model or NOOP
        foreign = at_root() if self._interpreter != python() else {}
        return {
            **foreign,
            "BENCH_BROKER": self.bench.server.celery_url,
            "BENCH_MODEL": model,
            **told,
        }

    def fill(self, texts: Sequence[str]) -> list[str]:
        """Send a message for each text, by Celery's own client."""
        ids = [str(uuid4()) for _ in texts]
        with self._app.producer_or_acquire() as producer, producer.batch(max_size=500):
            for job, text in zip(ids, texts, strict=True):
                self._app.send_task(
                    _TASK, args=(text,), task_id=job, queue=_QUEUE, producer=producer
                )
        return ids

    def send(self, text: str) -> str:
        """Send one message as a caller does; gives the job's ID."""
        return str(self._app.send_task(_TASK, args=(text,), queue=_QUEUE).id)

    def group(self, texts: Sequence[str]) -> None:
        """Send one group of all texts, as Celery's canvas has it."""
        tasks = [self._app.signature(_TASK, args=(text,), queue=_QUEUE) for text in texts]
        group(tasks, app=self._app).apply_async()

    def once(self, text: str) -> None:
        """Send one message, and wait for its result as a caller does."""
        self._waiting_app.send_task(_TASK, args=(text,), queue=_QUEUE).get(timeout=READY_SECONDS)

    def read(self, meta: dict[str, Any]) -> Answer:
        """Read what the task returned."""
        return Answer(meta["result"])

    @cached_property
    def _waiting_app(self) -> Any:
        url = self.bench.server.celery_url
        return Celery("bench", broker=url, backend=url, set_as_current=False)

    @cached_property
    def _app(self) -> Any:
        # Without a result backend: with one, its client would subscribe to each job, and then be
        # sent every result while the worker is measured.
        return Celery("bench", broker=self.bench.server.celery_url, set_as_current=False)


def plain(
    bench: Bench,
    model: str | None,
    *,
    label: str = "default",
    pool: str = "solo",
    prefetch: float = 1,
    late: bool = False,
) -> CeleryService:
    """Give plain Celery 5.7 at one setting.

    Args:
        bench: Where it runs.
        model: The embedding model's folder; None for the model that does nothing.
        label: What the table calls the setting, before its numbers.
        pool: Celery's pool.
        prefetch: The prefetch multiplier.
        late: Whether it acknowledges after the job, not before.
    """
    words = f"{label}: {pool}, prefetch {prefetch:g}" + (", acks_late" if late else "")
    return CeleryService(
        bench,
        "plain Celery",
        words,
        model,
        interpreter=python(),
        peer="plain_celery",
        pool=pool,
        prefetch=prefetch,
        acks_late=float(late),
    )


def batches(
    bench: Bench,
    model: str | None,
    interpreter: Path,
    *,
    label: str = "",
    batch: float = 10,
    wait: float = 30,
    prefetch: float | None = None,
) -> CeleryService:
    """Give celery-batches at one setting, by default its own.

    Args:
        bench: Where it runs.
        model: The embedding model's folder; None for the model that does nothing.
        interpreter: Its environment's Python.
        label: What the table calls the setting, before its numbers.
        batch: After how many messages a batch runs.
        wait: After how many seconds it runs with fewer.
        prefetch: The prefetch multiplier; twice the batch if absent, as its documentation asks for
            at least the batch.
    """
    prefetch = prefetch or 2 * batch
    words = f"flush_every {batch:g}, flush_interval {wait:g} s, prefetch {prefetch:g}"
    return CeleryService(
        bench,
        "celery-batches",
        f"{label}: {words}" if label else words,
        model,
        interpreter=interpreter,
        peer="celery_batches",
        pool="solo",
        batch=batch,
        wait=wait,
        prefetch=prefetch,
    )
