"""Submits jobs and reads their results, for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from stoker import cancel, retry, status
from stoker.admission import Admission
from stoker.aio.following import pieces
from stoker.aio.handle import AsyncJobHandle
from stoker.aio.server import AsyncServer
from stoker.bounds import Bounds
from stoker.client import Client
from stoker.delete import DeleteAnswer
from stoker.full import refused_when_full
from stoker.message import Message
from stoker.publish import bunches, fill, sent
from stoker.retry import RetryAnswer
from stoker.status import CancelAnswer, Seen, Status
from stoker.whereabouts import Whereabouts
from stoker_config.lapsed import Beat, settle
from stoker_config.settings import Settings
from stoker_tasks.job import Job
from stoker_tasks.media import Media
from stoker_tasks.result import Result, Success, referenced
from stoker_tasks.streaming import Piece
from stoker_tasks.wire import queue_name

# Shorter texts are packed at once; all else in a thread, since a store of files blocks.
_SHORT = 4096


class AsyncClient:
    """A producer for asyncio; its calls are those of `Client`, to be awaited.

    It belongs to one event loop. Redis is spoken to by redis.asyncio; what blocks by its nature
    (S3, Celery's broadcast of a cancel) is done in threads.

    Args:
        redis_url: The server; the settings' one if absent.
        app: A Celery app of your own, as for `Client`.
        settings: Settings; those of the environment if absent.

    Attributes:
        blocking: The blocking client of the same server, for what an operator does.

    Raises:
        ValueError: As for `Client`.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        app: Any = None,
        settings: Settings | None = None,
    ) -> None:
        self.blocking = Client(redis_url, app=app, settings=settings)
        self._whereabouts = Whereabouts(self.blocking.settings.apart)
        self._admission = Admission(self._whereabouts)
        self._server = AsyncServer(self.blocking.settings)
        self._celery_is_loaded = False

    # -- submitting --------------------------------------------------------------------------

    async def submit(
        self,
        job: Job,
        *,
        pool: str | None = None,
        countdown: float | None = None,
        expires: float | datetime | None = None,
        allow_unserved: bool = False,
    ) -> AsyncJobHandle:
        """Put a job on its pool's queue; see `Client.submit`."""
        [handle] = await self.submit_many(
            [job], pool=pool, countdown=countdown, expires=expires, allow_unserved=allow_unserved
        )
        return handle

    async def submit_many(
        self,
        jobs: Iterable[Job],
        *,
        pool: str | None = None,
        countdown: float | None = None,
        expires: float | datetime | None = None,
        allow_unserved: bool = False,
    ) -> list[AsyncJobHandle]:
        """Put many jobs on a pool's queue, 500 a round trip; see `Client.submit_many`."""
        jobs, pool = list(jobs), pool or self.blocking.settings.pool
        queue_name(pool)

        def prepare() -> tuple[Any, list[Message]]:
            return self.blocking.app, self.blocking.outgoing.messages(
                jobs, pool, countdown=countdown, expires=expires
            )

        if not allow_unserved:
            await self._admit(pool, jobs)
        short = all(isinstance(job.inputs, str) and len(job.inputs) <= _SHORT for job in jobs)
        # Celery is imported by the first call.
        known, self._celery_is_loaded = self._celery_is_loaded, True
        app, messages = prepare() if short and known else await asyncio.to_thread(prepare)
        now, bounds = await self._server.now(), Bounds.of(self.blocking.settings)
        ids: list[str] = []
        for bunch in bunches(messages):
            with refused_when_full(ids):
                async with self._server.redis.pipeline(transaction=True) as pipe:
                    fill(pipe, app, bunch, now, bounds)
                    ids += sent(bunch, await pipe.execute(), bounds, ids)
        return [AsyncJobHandle(self, job_id) for job_id in ids]

    async def signature(self, job: Job | str, *, pool: str | None = None, **fields: Any) -> Any:
        """Give a Celery signature of a job, for chains, groups and chords; see `Client.signature`.

        Celery knows no asyncio: send what you make of it in a thread, such as
        `await asyncio.to_thread(chain(first, link).apply_async)`.
        """
        return await asyncio.to_thread(self.blocking.signature, job, pool=pool, **fields)

    async def _admit(self, pool: str, jobs: Sequence[Job]) -> None:
        if self._admission.is_stale(pool):
            self._admission.learn(*await self._server.served())
        self._admission.judge(pool, {(job.task, job.model) for job in jobs})

    # -- reading -----------------------------------------------------------------------------

    def handle(self, job_id: str) -> AsyncJobHandle:
        """Give a handle of a job that was submitted before, by whomever."""
        return AsyncJobHandle(self, job_id)

    async def status(self, job_id: str) -> Status:
        """Say where a job stands."""
        if self.blocking.settings.apart:
            return await asyncio.to_thread(self.blocking.status, job_id)
        seen = await self._seen(job_id)
        if seen.beat and await self._settled(job_id, seen.beat):
            seen = await self._seen(job_id)
        if not seen.place:
            return seen.status
        workers, _ = await self._server.served()
        return seen.explained(workers)

    async def _seen(self, job_id: str) -> Seen:
        return status.tell(job_id, await self._server.redis.eval(*status.question(job_id)))

    async def _settled(self, job_id: str, beat: Beat) -> bool:
        """Mark a job as running no more, if no worker lives; see `Client`."""
        now = await self._server.now()
        if not beat.is_over(now, self.blocking.settings) or (await self._server.served())[0]:
            return False
        await self._server.redis.eval(*settle(job_id, beat))
        return True

    async def wait(self, job_id: str, timeout: float | None = None) -> Result:
        """Wait for a job's result; see `Client.wait`.

        Raises:
            TimeoutError: It was not finished in time.
        """
        await self._find_results()
        async for _, result in self._server.listener.results([job_id], timeout):
            return await self._whole(result)
        raise AssertionError("unreachable")

    async def as_completed(
        self, handles: Sequence[AsyncJobHandle], timeout: float | None = None
    ) -> AsyncIterator[tuple[AsyncJobHandle, Result]]:
        """Give the results of many jobs as they come; see `Client.as_completed`.

        Raises:
            TimeoutError: Some were not finished in time.
        """
        await self._find_results()
        by_id = {handle.id: handle for handle in handles}
        async for job_id, result in self._server.listener.results(list(by_id), timeout):
            yield by_id[job_id], await self._whole(result)

    async def _find_results(self) -> None:
        async with self._server.looking:
            if self._whereabouts.must_look():
                workers, _ = await self._server.served()
                self._whereabouts.learn(workers)
            self._whereabouts.check()

    def stream(
        self, job_id: str, *, after: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[Piece]:
        """Give the text of a job as it is generated, and end with the job; see `Client.stream`.

        Raises:
            StokerError: The job failed, was canceled or expired.
            TimeoutError: It was not finished in time.
            InvalidInput: `after` is no ID of a piece.
        """
        return pieces(self._server.listener, self._server.results, job_id, after, timeout)

    async def upload(self, file: bytes | Path) -> Media:
        """Send a file once that many jobs will read; see `Client.upload`."""
        return await asyncio.to_thread(self.blocking.upload, file)

    async def artifact(self, uri: str) -> bytes:
        """Read the bytes of an artifact that a result names; see `Client.artifact`."""
        return await asyncio.to_thread(self.blocking.artifact, uri)

    async def presign(self, uri: str, expires: int | None = None) -> str:
        """Make a URL under which anybody can read an artifact; see `Client.presign`."""
        return await asyncio.to_thread(self.blocking.presign, uri, expires)

    async def _whole(self, result: Result) -> Result:
        if isinstance(result, Success) and referenced(result.output):
            return await asyncio.to_thread(self.blocking.whole, result)
        return result

    # -- what is done to a job ---------------------------------------------------------------

    async def cancel(self, job_id: str) -> CancelAnswer:
        """Cancel a job; see `CancelAnswer` for what may come of it."""
        if self.blocking.settings.apart:
            return await asyncio.to_thread(self.blocking.cancel, job_id)
        seen, settings = await self._seen(job_id), self.blocking.settings
        if seen.beat:
            await self._settled(job_id, seen.beat)
        async with self._server.redis.pipeline(transaction=False) as pipe:
            cancel.ask(pipe, job_id)
            known = cancel.tell(await pipe.execute())
        asked = self._server.redis.eval(*cancel.question(job_id, known, settings))
        answer = cancel.answer_of(await asked)
        if answer in (CancelAnswer.CANCELED, CancelAnswer.CANCELING):
            await asyncio.to_thread(lambda: self.blocking.app.control.revoke(job_id))
        return answer

    async def retry(self, job_id: str) -> RetryAnswer:
        """Run a job again that failed, expired or was canceled; see `Client.retry`."""
        if self.blocking.settings.apart:
            return await asyncio.to_thread(self.blocking.retry, job_id)
        stands = await self.status(job_id)
        if (refused := retry.refusal(stands)) is not None:
            return refused
        async with self._server.redis.pipeline(transaction=False) as pipe:
            retry.ask(pipe, job_id)
            text = retry.tell(await pipe.execute())
        if text is None:
            return retry.not_kept(stands)
        now = await self._server.now()
        sent_again = retry.send(self._server.redis, job_id, text, stands.times.attempts, now)
        return RetryAnswer((await sent_again).decode())

    async def delete(self, job_id: str) -> DeleteAnswer:
        """Delete all that is kept of a finished job; see `Client.delete`."""
        return await asyncio.to_thread(self.blocking.delete, job_id)

    # -- the connection ----------------------------------------------------------------------

    async def close(self) -> None:
        """Close all connections. The client opens new ones if it is used again."""
        await self._server.close()
        await asyncio.to_thread(self.blocking.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
