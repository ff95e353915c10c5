"""Submits jobs and reads their results."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import uuid4

from stoker.handle import JobHandle
from stoker.status import CancelAnswer, Status, explain
from stoker_config.settings import Settings
from stoker_tasks.catalog import find
from stoker_tasks.errors import InvalidInput, ModelNotAllowed, Unserved
from stoker_tasks.job import Job
from stoker_tasks.result import Result
from stoker_tasks.wire import PRIORITIES, celery_name, make_job, queue_name, to_kwargs

if TYPE_CHECKING:
    from stoker.dead import DeadLetter
    from stoker_config.artifacts import ArtifactStore
    from stoker_config.serving import Registry, Serving

# For so long a client believes what it read of the serving registry.
_REGISTRY_SECONDS: Final = 2.0


class Client:
    """A producer: submits typed jobs, and knows what became of them.

    It may be used from several threads. Nothing is sent before the first call.

    Args:
        redis_url: The server; the settings' one if absent.
        app: A Celery app of your own whose broker and result backend are that server: its
            connection settings are used instead of Stoker's.
        settings: Settings; those of the environment if absent.

    Raises:
        ValueError: The app's broker is not Redis, its results go elsewhere, or its keys have a
            prefix (`global_keyprefix`).
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        app: Any = None,
        settings: Settings | None = None,
    ) -> None:
        if app is not None:
            redis_url = _server_of(app)
        settings = settings or Settings()
        if redis_url is not None:
            settings = Settings.model_validate({**settings.model_dump(), "redis_url": redis_url})
        self._settings = settings
        self._given_app = app
        self._lock = threading.RLock()
        self._parts: dict[str, Any] = {}
        self._workers: tuple[float, list[Serving], list[str]] = (0.0, [], [])

    # -- submitting --------------------------------------------------------------------------

    def submit(
        self,
        job: Job,
        *,
        pool: str | None = None,
        countdown: float | None = None,
        expires: float | datetime | None = None,
        allow_unserved: bool = False,
    ) -> JobHandle:
        """Put a job on its pool's queue.

        Args:
            job: A typed job, such as `TextClassification(inputs="…")`.
            pool: The pool that is to run it; the settings' one if absent.
            countdown: Seconds to wait before it may run.
            expires: Seconds, or a time, after which it must not be started any more.
            allow_unserved: Take it even if nobody serves it.

        Returns:
            A handle to wait for its result.

        Raises:
            Unserved: The pool is unknown, or a worker of it lives but none serves the task.
            ModelNotAllowed: The pool serves a fixed list of models without this one.
            TooLarge: The inputs are more than the artifact store takes.
        """
        [handle] = self.submit_many(
            [job], pool=pool, countdown=countdown, expires=expires, allow_unserved=allow_unserved
        )
        return handle

    def submit_many(
        self,
        jobs: Iterable[Job],
        *,
        pool: str | None = None,
        countdown: float | None = None,
        expires: float | datetime | None = None,
        allow_unserved: bool = False,
    ) -> list[JobHandle]:
        """Put many jobs on a pool's queue, 500 a round trip; see `submit`.

        Returns:
            A handle for each job, in their order.
        """
        from stoker.payload import pack
        from stoker.publish import Message, publish

        pool = pool or self._settings.pool
        queue_name(pool)
        jobs = list(jobs)
        if not allow_unserved:
            self._check_served(pool, {(job.task, job.model) for job in jobs})
        store, limit = self._artifacts, self._settings.inline_limit
        messages = [
            Message(
                id=str(uuid4()),
                task=job.task,
                kwargs=pack(job, store, limit),
                pool=pool,
                priority=job.priority,
                countdown=countdown,
                expires=expires,
            )
            for job in jobs
        ]
        publish(self._app, self._redis, messages)
        return [JobHandle(self, message.id) for message in messages]

    def signature(self, job: Job | str, *, pool: str | None = None, **fields: Any) -> Any:
        """Give a Celery signature of a job, for chains, groups and chords.

        Args:
            job: A typed job; or a task's name, for a link that takes its inputs from the one
                before, with the job's other fields as keyword arguments.
            pool: The pool that is to run it; the settings' one if absent.
            **fields: `model`, `parameters` … where `job` is a name.

        Returns:
            A `celery.canvas.Signature` bound to the client's app.

        Raises:
            InvalidInput: A field or parameter is unknown or of a wrong type.
        """
        from stoker.payload import pack
        from stoker.publish import HIDDEN, headers

        queue = queue_name(pool or self._settings.pool)
        if isinstance(job, Job):
            kwargs = pack(job, self._artifacts, self._settings.inline_limit)
            task, priority = job.task, job.priority
        else:
            kwargs, task = _without_inputs(job, fields), find(job).name
            priority = fields.get("priority", "normal")
        return self._app.signature(
            celery_name(task),
            kwargs=kwargs,
            queue=queue,
            priority=PRIORITIES[priority],
            argsrepr=HIDDEN,
            kwargsrepr=HIDDEN,
            headers=headers(time.time()) if isinstance(job, Job) else {},
        )

    # -- reading -----------------------------------------------------------------------------

    def handle(self, job_id: str) -> JobHandle:
        """Give a handle of a job that was submitted before, by whomever."""
        return JobHandle(self, job_id)

    def status(self, job_id: str) -> Status:
        """Say where a job stands."""
        from stoker.status import read_status

        return read_status(self._redis, self._registry, job_id)

    def wait(self, job_id: str, timeout: float | None = None) -> Result:
        """Wait for a job's result.

        Args:
            job_id: The job.
            timeout: Seconds; for ever if None.

        Returns:
            `Success` or `Failure`.

        Raises:
            TimeoutError: It was not finished in time.
        """
        from celery.exceptions import TimeoutError as CeleryTimeoutError

        from stoker.results import read
        from stoker_config import keys

        key = keys.result(job_id)
        result = read(self._redis.get(key))
        if result is None:
            try:
                # Celery is told by a message when the result is there; it is read as it is stored.
                self._app.AsyncResult(job_id).get(timeout=timeout, propagate=False)
            except CeleryTimeoutError:
                raise TimeoutError(f"job {job_id} was not finished within {timeout} s") from None
            result = read(self._redis.get(key))
        if result is None:
            raise TimeoutError(f"the result of job {job_id} expired while it was waited for")
        return result

    def as_completed(
        self, handles: Sequence[JobHandle], timeout: float | None = None
    ) -> Iterator[tuple[JobHandle, Result]]:
        """Give the results of many jobs as they come.

        Args:
            handles: The jobs.
            timeout: Seconds to wait for all of them; for ever if None.

        Yields:
            Each job's handle and result, in the order in which they are found.

        Raises:
            TimeoutError: Some were not finished in time.
        """
        from stoker.results import as_completed

        by_id = {handle.id: handle for handle in handles}
        for job_id, result in as_completed(self._redis, list(by_id), timeout):
            yield by_id[job_id], result

    def artifact(self, uri: str) -> bytes:
        """Read the bytes of an artifact that a result names.

        Raises:
            InputFetchFailed: It has expired.
        """
        from stoker_config.artifacts import fetch

        return fetch(self._artifacts, uri)

    def cancel(self, job_id: str) -> CancelAnswer:
        """Cancel a job; see `CancelAnswer` for what may come of it."""
        from stoker.cancel import cancel

        return cancel(self._app, self._redis, job_id)

    def dead_letters(self) -> "list[DeadLetter]":
        """List the jobs that were given up because each worker that ran them died."""
        from stoker.dead import read_all

        return read_all(self._redis)

    def requeue(self, job_id: str) -> bool:
        """Put a dead letter back on its queue, under its old ID and with no deaths counted.

        Returns:
            Whether there was such a dead letter.
        """
        from stoker.dead import requeue

        return requeue(self._redis, job_id)

    def discard(self, job_id: str) -> bool:
        """Forget a dead letter; its job's failure stays readable until it expires.

        Returns:
            Whether there was such a dead letter.
        """
        from stoker.dead import discard

        return discard(self._redis, job_id)

    def workers(self) -> "list[Serving]":
        """List the living workers and what they serve."""
        return self._registry.workers()

    # -- the connection ----------------------------------------------------------------------

    def close(self) -> None:
        """Close all connections. The client opens new ones if it is used again."""
        with self._lock:
            parts, self._parts = self._parts, {}
        if "redis" in parts:
            parts["redis"].close()
        if "app" in parts and self._given_app is None:
            with suppress(AttributeError):
                parts["app"].backend.result_consumer.stop()
            parts["app"].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Celery and redis-py are imported by the first call that needs them: a web backend imports
    # this module in every process, whether it submits or not.

    @property
    def _app(self) -> Any:
        return self._given_app or self._part("app", self._make_app)

    @property
    def _redis(self) -> Any:
        return self._part("redis", self._connect)

    @property
    def _registry(self) -> "Registry":
        registry: Registry = self._part("registry", self._make_registry)
        return registry

    @property
    def _artifacts(self) -> "ArtifactStore":
        store: ArtifactStore = self._part("artifacts", self._make_store)
        return store

    def _part(self, name: str, make: Any) -> Any:
        with self._lock:
            if name not in self._parts:
                self._parts[name] = make()
            return self._parts[name]

    def _make_app(self) -> Any:
        from stoker_config.app import make_app

        return make_app(self._settings)

    def _connect(self) -> Any:
        from stoker_config.servers import connect

        return connect(self._settings)

    def _make_registry(self) -> Any:
        from stoker_config.serving import Registry

        return Registry(self._redis)

    def _make_store(self) -> Any:
        from stoker_config.artifacts import RedisArtifacts

        return RedisArtifacts(
            self._redis,
            limit=self._settings.artifact_limit,
            capacity=self._settings.artifact_capacity,
            expires=self._settings.artifact_expires,
        )

    def _check_served(self, pool: str, wanted: set[tuple[str, str | None]]) -> None:
        read_at, workers, pools = self._workers
        if time.monotonic() - read_at > _REGISTRY_SECONDS or pool not in pools:
            workers, pools = self._registry.workers(), self._registry.known_pools()
            self._workers = (time.monotonic(), workers, pools)
        if pool not in pools:
            raise Unserved(
                f"no worker has served the pool {pool} within the last day; known pools: "
                f"{', '.join(pools) or 'none'}. Start a worker for it, or submit with "
                "allow_unserved=True",
                {"pool": pool, "pools": pools},
            )
        if not any(pool in worker.pools for worker in workers):
            return  # the pool is down, not unknown: the job waits, and its status says so
        for task, model in wanted:
            why = explain(workers, pool, task, model)
            if why is None:
                continue
            error = ModelNotAllowed if "this model" in why else Unserved
            raise error(
                f"{why}. Submit with allow_unserved=True to let the job wait",
                {
                    "pool": pool,
                    "task": task,
                },
            )


def _without_inputs(task: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check the fields of a link that will be handed its inputs."""
    spec = find(task)
    if "inputs" in fields:
        return to_kwargs(make_job(task, fields))
    try:
        job = make_job(task, {**fields, "inputs": spec.example["inputs"]})
    except InvalidInput as error:
        raise InvalidInput(error.message, error.details) from None
    kwargs = to_kwargs(job)
    del kwargs["inputs"]
    return kwargs


def _server_of(app: Any) -> str:
    """Give the URL of an app's server.

    Raises:
        ValueError: The app is set up in a way in which its jobs' results would not be found.
    """
    broker, backend = str(app.conf.broker_url or ""), str(app.conf.result_backend or "")
    for name in ("broker_transport_options", "result_backend_transport_options"):
        if (app.conf[name] or {}).get("global_keyprefix"):
            raise ValueError(
                f"the app sets global_keyprefix in {name}, which Stoker does not support: give "
                "Stoker a logical database of its own instead"
            )
    if not broker.startswith(("redis://", "rediss://", "redis+socket://")):
        raise ValueError("the app's broker_url is not a Redis server (redis://, rediss://)")
    if backend.rstrip("/") != broker.rstrip("/"):
        raise ValueError(
            "the app's result_backend must be the same URL as its broker_url: Stoker's workers "
            "store results where they take jobs from"
        )
    return broker
