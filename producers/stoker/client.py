"""Submits jobs and reads their results."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from stoker import cancel, status
from stoker.admission import Admission
from stoker.bounds import Bounds
from stoker.canvas import signature_of
from stoker.delete import DeleteAnswer, delete
from stoker.files import Files
from stoker.following import pieces
from stoker.handle import JobHandle
from stoker.operating import Operating
from stoker.outgoing import Outgoing
from stoker.payload import unpack
from stoker.publish import publish
from stoker.retry import RetryAnswer, refusal, retry
from stoker.server import Server, server_of
from stoker.status import CancelAnswer, Seen, Status
from stoker.whereabouts import Whereabouts
from stoker_config.lapsed import Beat, settle
from stoker_tasks.job import Job
from stoker_tasks.result import Result
from stoker_tasks.streaming import Piece
from stoker_tasks.wire import queue_name

if TYPE_CHECKING:
    from stoker_config.settings import Settings


class Client(Files, Operating):
    """A producer: submits typed jobs, and knows what became of them.

    It may be used from several threads. Nothing is sent before the first call.

    Args:
        redis_url: The server; the settings' one if absent.
        app: A Celery app of your own whose broker and result backend are that server: its
            connection settings are used instead of Stoker's.
        settings: Settings; those of the environment if absent.

    Attributes:
        settings: The settings, with the server's URL in them.
        outgoing: What makes messages of jobs.

    Raises:
        ValueError: The app's broker is not Redis, its results go elsewhere, or its keys have a
            prefix (`global_keyprefix`).
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        app: Any = None,
        settings: "Settings | None" = None,
    ) -> None:
        # Here, and not above: who imports Stoker may never make a client.
        from stoker_config.settings import Settings

        server: dict[str, Any] = {} if redis_url is None else {"redis_url": redis_url}
        settings = settings or Settings()
        if app is not None:
            server = server_of(app, settings)
        if server:
            settings = Settings.model_validate({**settings.model_dump(), **server})
        self.settings = settings
        self._server = Server(settings, app)
        self._whereabouts = Whereabouts(settings.apart)
        self._looking = threading.Lock()
        self._admission = Admission(self._whereabouts)
        self.outgoing = Outgoing(self._server)

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
            ResultsElsewhere: The pool's workers store results where this client does not look.
            TooLarge: The job is larger than the deployment takes.
            InvalidInput: A file is not base64, the job nests too deep, has a text with half of a
                surrogate pair, or asks for its result to be kept for longer than is possible.
            StorageUnavailable: The inputs go to S3, which does not answer.
            IdempotencyConflict: The job's idempotency key stands for another request.
            QueueFull: As many jobs of its pool or tenant wait as may, or Redis has no memory left.
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
        messages = self.outgoing.messages(jobs, pool, countdown=countdown, expires=expires)
        now, bounds = self._server.clock.now(), Bounds.of(self.settings)
        ids = publish(self._server.app, self._server.redis, messages, now, bounds)
        return [JobHandle(self, job_id) for job_id in ids]

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
        pool = pool or self.settings.pool
        return signature_of(self._server.app, self.outgoing, job, pool, fields)

    # -- reading -----------------------------------------------------------------------------

    def handle(self, job_id: str) -> JobHandle:
        """Give a handle of a job that was submitted before, by whomever."""
        return JobHandle(self, job_id)

    def status(self, job_id: str) -> Status:
        """Say where a job stands."""
        seen = self._seen(job_id)
        if seen.beat and self._settled(job_id, seen.beat):
            seen = self._seen(job_id)
        return seen.explained(self._server.registry.workers()) if seen.place else seen.status

    def _seen(self, job_id: str) -> Seen:
        answers = self._server.redis.eval(*status.question(job_id))
        if apart := self._server.apart:
            answers = apart.with_result(job_id, answers)
        return status.tell(job_id, answers)

    def _settled(self, job_id: str, beat: Beat) -> bool:
        """Mark a job as running no more, if no worker lives that could run it, or give it back."""
        now = self._server.clock.now()
        if not beat.is_over(now, self.settings) or self._server.registry.workers():
            return False
        self._server.redis.eval(*settle(job_id, beat))
        return True

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
            ResultsElsewhere: All workers store results where this client does not look.
        """
        self._find_results()
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
            ResultsElsewhere: As for `wait`.
        """
        self._find_results()
        by_id = {handle.id: handle for handle in handles}
        for job_id, result in self._server.listener.results(list(by_id), timeout):
            yield by_id[job_id], self.whole(result)

    def _find_results(self) -> None:
        # However many wait: one of them looks, and the others for that one.
        with self._looking:
            if self._whereabouts.must_look():
                self._whereabouts.learn(self._server.registry.workers())
            self._whereabouts.check()

    def stream(
        self, job_id: str, *, after: str | None = None, timeout: float | None = None
    ) -> Iterator[Piece]:
        """Give the text of a job as it is generated, and end with the job.

        The job has to be one that was submitted with `stream=True`; another one's end is waited
        for. What was there before comes first, for as long as the job's result is kept.

        Args:
            job_id: The job.
            after: The ID of the last piece that the caller has; None for all.
            timeout: Seconds; for ever if None.

        Yields:
            New text. Where `restart` is set, what came before is of no account: the job is run
            again.

        Raises:
            StokerError: The job failed, was canceled or expired.
            TimeoutError: It was not finished in time.
            InvalidInput: `after` is no ID of a piece.
        """
        return pieces(self._server.listener, self._server.results, job_id, after, timeout)

    def delete(self, job_id: str) -> DeleteAnswer:
        """Delete all that is kept of a finished job; see `DeleteAnswer` for what may come of it.

        Its result, its artifacts and the inputs that travelled beside its message go at once, and
        the webhook events that have told of it. Its idempotency key is free for another job.

        Raises:
            StorageUnavailable: Some of it is in S3, which does not answer; delete it again.
        """
        expires = self.settings.retention_max
        do = partial(delete, self._server.redis, self._server.artifacts, job_id, expires)
        answer = apart.delete(job_id, do) if (apart := self._server.apart) else do()
        if answer is DeleteAnswer.DELETED:
            self.webhooks.forget(job_id)
        return answer

    def whole(self, result: Result) -> Result:
        """Put an output back that was too large for its result."""
        return unpack(result, lambda: self._server.artifacts)

    def cancel(self, job_id: str) -> CancelAnswer:
        """Cancel a job; see `CancelAnswer` for what may come of it."""
        do = partial(self._cancel, job_id)
        return apart.cancel(job_id, do) if (apart := self._server.apart) else do()

    def _cancel(self, job_id: str) -> CancelAnswer:
        client = self._server.redis
        seen = self._seen(job_id)
        if seen.beat:
            self._settled(job_id, seen.beat)
        with client.pipeline(transaction=False) as pipe:
            cancel.ask(pipe, job_id)
            known = cancel.tell(pipe.execute())
        answer = cancel.answer_of(client.eval(*cancel.question(job_id, known, self.settings)))
        if answer in (CancelAnswer.CANCELED, CancelAnswer.CANCELING):
            self._server.app.control.revoke(job_id)
        return answer

    def retry(self, job_id: str) -> RetryAnswer:
        """Run a job again that failed, expired or was canceled, under its old ID.

        Its message is kept for as long as its result, while there is room for it.

        Returns:
            What came of it; see `RetryAnswer`.
        """
        stands = self.status(job_id)
        if (refused := refusal(stands)) is not None:
            return refused
        do = partial(retry, self._server.redis, stands, self._server.clock.now())
        if apart := self._server.apart:
            return apart.repeat(job_id, do, RetryAnswer.RETRYING.__eq__)
        return do()

    # -- the connection ----------------------------------------------------------------------

    def close(self) -> None:
        """Close all connections. The client opens new ones if it is used again."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
