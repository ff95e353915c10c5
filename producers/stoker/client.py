"""Submits jobs and reads their results."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stoker import dead, models, retry
from stoker.admission import Admission
from stoker.bounds import Bounds
from stoker.cancel import cancel
from stoker.dead import DeadLetter
from stoker.delete import DeleteAnswer, delete
from stoker.handle import JobHandle
from stoker.payload import Packed, pack, unpack
from stoker.publish import Message, message_of, publish
from stoker.retry import RetryAnswer, refusal
from stoker.server import Server, url_of
from stoker.status import CancelAnswer, Status, ask, tell
from stoker_config.artifacts import gone
from stoker_config.retention import Retention
from stoker_config.settings import Settings
from stoker_tasks.catalog import find
from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_tasks.media import Media
from stoker_tasks.result import Result
from stoker_tasks.wire import (
    CONTRACT,
    CONTRACT_HEADER,
    HIDDEN,
    PRIORITIES,
    celery_name,
    make_job,
    queue_name,
    to_kwargs,
)

if TYPE_CHECKING:
    from stoker.events import Webhooks
    from stoker_config.artifacts import ArtifactStore
    from stoker_config.serving import Serving


class Client:
    """A producer: submits typed jobs, and knows what became of them.

    It may be used from several threads. Nothing is sent before the first call.

    Args:
        redis_url: The server; the settings' one if absent.
        app: A Celery app of your own whose broker and result backend are that server: its
            connection settings are used instead of Stoker's.
        settings: Settings; those of the environment if absent.

    Attributes:
        settings: The settings, with the server's URL in them.

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
            redis_url = url_of(app)
        settings = settings or Settings()
        if redis_url is not None:
            settings = Settings.model_validate({**settings.model_dump(), "redis_url": redis_url})
        self.settings = settings
        self._server = Server(settings, app)
        self._admission = Admission()

    @property
    def app(self) -> Any:
        """The Celery app that makes its messages."""
        return self._server.app

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
            A handle to wait for its result; for a request that was made before, with the same
            idempotency key, a handle of its first job.

        Raises:
            Unserved: The pool is unknown, or a worker of it lives but none serves the task.
            ModelNotAllowed: The pool serves a fixed list of models without this one.
            TooLarge: The job is larger than the deployment takes.
            InvalidInput: A file is not base64, the job nests too deep, or asks for its result to be
                kept for longer than is possible.
            StorageUnavailable: The inputs go to S3, which does not answer.
            IdempotencyConflict: The job's idempotency key stands for another request.
            QueueFull: As many jobs of its pool or tenant wait as may.
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

        Each 500 are taken or refused as a whole. What was taken before a refusal stands:
        `QueueFull` has the IDs of these jobs in `details["taken"]`.

        Returns:
            A handle for each job, in their order.
        """
        pool = pool or self.settings.pool
        queue_name(pool)
        jobs = list(jobs)
        if not allow_unserved:
            wanted = {(job.task, job.model) for job in jobs}
            self._admission.check(self._server.registry, pool, wanted)
        messages = self.messages(jobs, pool, countdown=countdown, expires=expires)
        now, bounds = self._server.clock.now(), Bounds.of(self.settings)
        ids = publish(self._server.app, self._server.redis, messages, now, bounds)
        return [JobHandle(self, job_id) for job_id in ids]

    def messages(
        self,
        jobs: Sequence[Job],
        pool: str,
        *,
        countdown: float | None = None,
        expires: float | datetime | None = None,
    ) -> list[Message]:
        """Make the messages of jobs, and send their large inputs ahead; for `publish`."""
        return [
            replace(
                message_of(job, packed, pool=pool, countdown=countdown, expires=expires),
                beside_expires=self.settings.artifact_expires,
            )
            for job, packed in zip(jobs, self._packed(jobs), strict=True)
        ]

    def _packed(self, jobs: Sequence[Job]) -> list[Packed]:
        settings, retention = self.settings, self._retention()
        for job in jobs:
            retention.checked(job.retention)
        inline, limits = settings.inline_limit, settings.limits
        return [pack(job, self._artifacts, inline, limits) for job in jobs]

    def _retention(self) -> Retention:
        return Retention(self.settings.result_expires, self.settings.retention_max)

    def signature(self, job: Job | str, *, pool: str | None = None, **fields: Any) -> Any:
        """Give a Celery signature of a job, for chains, groups and chords.

        A task of your own that follows a job in a chain needs its queue named
        (`.set(queue="…")`): Stoker's worker sends it, and knows nothing of your routes.

        Args:
            job: A typed job; or a task's name, for a link that takes its inputs from the one
                before, with the job's other fields as keyword arguments.
            pool: The pool that is to run it; the settings' one if absent.
            **fields: `model`, `parameters` … where `job` is a name.

        Returns:
            A `celery.canvas.Signature` bound to the client's app.

        Raises:
            InvalidInput: A field or parameter is unknown or of a wrong type.
            TooLarge: The inputs are larger than the deployment's limits.
        """
        queue = queue_name(pool or self.settings.pool)
        if isinstance(job, str) and "inputs" in fields:
            job = make_job(job, fields)
        key = job.idempotency_key if isinstance(job, Job) else fields.get("idempotency_key")
        if key is not None:
            raise InvalidInput(
                "a signature may be sent many times, by Celery, which keeps no idempotency_key: "
                "leave it out"
            )
        if isinstance(job, Job):
            [packed] = self._packed([job])
            kwargs, task, priority = packed.kwargs, job.task, job.priority
        else:
            kwargs, task = _without_inputs(job, fields), find(job).name
            self._retention().checked(kwargs.get("retention"))
            priority = fields.get("priority", "normal")
        return self._server.app.signature(
            celery_name(task),
            kwargs=kwargs,
            queue=queue,
            priority=PRIORITIES[priority],
            argsrepr=HIDDEN,
            kwargsrepr=HIDDEN,
            headers={CONTRACT_HEADER: CONTRACT},
            # Whatever the app's default is: a worker takes nothing else.
            serializer="json",
        )

    # -- reading -----------------------------------------------------------------------------

    def handle(self, job_id: str) -> JobHandle:
        """Give a handle of a job that was submitted before, by whomever."""
        return JobHandle(self, job_id)

    def status(self, job_id: str) -> Status:
        """Say where a job stands."""
        with self._server.redis.pipeline(transaction=True) as pipe:
            ask(pipe, job_id)
            seen = tell(job_id, pipe.execute())
        return seen.explained(self._server.registry.workers()) if seen.place else seen.status

    def wait(self, job_id: str, timeout: float | None = None) -> Result:
        """Wait for a job's result.

        Args:
            job_id: The job.
            timeout: Seconds; for ever if None.

        Returns:
            `Success` or `Failure`.

        Raises:
            TimeoutError: It was not finished in time.
            Gone: Its output was kept beside it, and has expired.
        """
        for _, result in self._server.listener.results([job_id], timeout):
            return self.whole(result)
        raise AssertionError("unreachable")

    def as_completed(
        self, handles: Sequence[JobHandle], timeout: float | None = None
    ) -> Iterator[tuple[JobHandle, Result]]:
        """Give the results of many jobs as they come.

        Args:
            handles: The jobs.
            timeout: Seconds to wait for all of them; for ever if None.

        Yields:
            Each job's handle and result, in the order in which they come.

        Raises:
            TimeoutError: Some were not finished in time.
        """
        by_id = {handle.id: handle for handle in handles}
        for job_id, result in self._server.listener.results(list(by_id), timeout):
            yield by_id[job_id], self.whole(result)

    def upload(self, file: bytes | Path) -> Media:
        """Send a file once that many jobs will read.

        Args:
            file: Its bytes, or where it is.

        Returns:
            What stands for it in the inputs of jobs, for as long as artifacts are kept.

        Raises:
            TooLarge: It is more than the artifact store takes.
            StorageUnavailable: The store does not answer.
        """
        data = file.read_bytes() if isinstance(file, Path) else file
        return Media(uri=self._server.artifacts.put(data))

    def artifact(self, uri: str) -> bytes:
        """Read the bytes of an artifact that a result names.

        Raises:
            Gone: It has expired, or was deleted.
            StorageUnavailable: It is in S3, which does not answer.
        """
        data = self._server.artifacts.get([uri]).get(uri)
        if data is None:
            raise gone(uri)
        return data

    def presign(self, uri: str, expires: int | None = None) -> str:
        """Make a URL under which anybody can read an artifact, without a key, for a time.

        Args:
            uri: The artifact that a result names.
            expires: Seconds for which the URL is good, or until the artifact expires; as the
                settings say if None.

        Raises:
            Gone: It has expired, or was deleted.
            NoUrl: It is in Redis, where no URL leads to.
            StorageUnavailable: It is in S3, which does not answer.
        """
        return self._server.artifacts.presign(uri, expires)

    def delete(self, job_id: str) -> DeleteAnswer:
        """Delete all that is kept of a finished job; see `DeleteAnswer` for what may come of it.

        Its result, its artifacts and the inputs that travelled beside its message go at once, and
        the webhook events that have told of it.

        Raises:
            StorageUnavailable: Some of it is in S3, which does not answer; delete it again.
        """
        expires = self.settings.retention_max
        answer = delete(self._server.redis, self._server.artifacts, job_id, expires)
        if answer is DeleteAnswer.DELETED:
            self.webhooks.forget(job_id)
        return answer

    def _artifacts(self) -> "ArtifactStore":
        return self._server.artifacts

    def whole(self, result: Result) -> Result:
        """Put an output back that was too large for its result."""
        return unpack(result, self._artifacts)

    def cancel(self, job_id: str) -> CancelAnswer:
        """Cancel a job; see `CancelAnswer` for what may come of it."""
        expires = self.settings.result_expires
        return cancel(self._server.app, self._server.redis, job_id, expires)

    def retry(self, job_id: str) -> RetryAnswer:
        """Run a job again that failed, expired or was canceled, under its old ID.

        Its message is kept for as long as its result, while there is room for it.

        Returns:
            What came of it; see `RetryAnswer`.
        """
        status = self.status(job_id)
        if (refused := refusal(status)) is not None:
            return refused
        with self._server.redis.pipeline(transaction=False) as pipe:
            retry.ask(pipe, job_id)
            text = next((each for each in pipe.execute() if each), None)
        if text is None:
            return RetryAnswer.NOT_KEPT
        now = self._server.clock.now()
        answer = retry.send(self._server.redis, job_id, text, status.times.attempts, now)
        return RetryAnswer(answer.decode())

    def dead_letters(self) -> list[DeadLetter]:
        """List the jobs that were given up because each worker that ran them died."""
        return dead.read_all(self._server.redis)

    def requeue(self, job_id: str) -> bool:
        """Put a dead letter back on its queue, under its old ID and with no deaths counted.

        Returns:
            Whether there was such a dead letter.
        """
        return dead.requeue(self._server.redis, job_id, self._server.clock.now())

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
        app, registry = self._server.app, self._server.registry
        return models.preload(app, registry, pool or self.settings.pool, model, revision, task)

    def evict_model(self, model: str, *, pool: str | None = None) -> list[models.Answer]:
        """Have all workers of a pool give up a model; see `stoker.models.evict`."""
        app, registry = self._server.app, self._server.registry
        return models.evict(app, registry, pool or self.settings.pool, model)

    # -- the connection ----------------------------------------------------------------------

    def close(self) -> None:
        """Close all connections. The client opens new ones if it is used again."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _without_inputs(task: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Check the fields of a link that will be handed its inputs."""
    spec = find(task)
    job = make_job(task, {**fields, "inputs": spec.example["inputs"]})
    kwargs = to_kwargs(job)
    del kwargs["inputs"]
    return kwargs
