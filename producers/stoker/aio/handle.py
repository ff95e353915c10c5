"""A hold on a job for asyncio: poll it, wait for it, follow it, cancel it."""

from collections.abc import AsyncIterator
from typing import Protocol

from stoker.delete import DeleteAnswer
from stoker.retry import RetryAnswer
from stoker.status import CancelAnswer, Status
from stoker_tasks.result import Failure, Result, Success
from stoker_tasks.streaming import Piece


class AsyncJobs(Protocol):
    """What a handle needs of its client."""

    async def status(self, job_id: str) -> Status:
        """Say where a job stands."""

    async def wait(self, job_id: str, timeout: float | None = None) -> Result:
        """Wait for a job's result."""

    def stream(
        self, job_id: str, *, after: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[Piece]:
        """Give the text of a job as it is generated."""

    async def cancel(self, job_id: str) -> CancelAnswer:
        """Cancel a job."""

    async def retry(self, job_id: str) -> RetryAnswer:
        """Run a job again that ended without success."""

    async def artifact(self, uri: str) -> bytes:
        """Read the bytes of an artifact."""

    async def delete(self, job_id: str) -> DeleteAnswer:
        """Delete all that is kept of a finished job."""


class AsyncJobHandle:
    """One submitted job; see `JobHandle`, whose calls these are.

    Args:
        jobs: The client that reads it.
        job_id: Its ID.
    """

    __slots__ = ("_jobs", "id")

    def __init__(self, jobs: AsyncJobs, job_id: str) -> None:
        self._jobs = jobs
        self.id = job_id

    def __repr__(self) -> str:
        return f"AsyncJobHandle({self.id!r})"

    async def status(self) -> Status:
        """Say where the job stands, without waiting."""
        return await self._jobs.status(self.id)

    async def wait(self, timeout: float | None = None) -> Result:
        """Wait for the result, whatever it is; see `JobHandle.wait`.

        Raises:
            TimeoutError: The job was not finished in time.
        """
        return await self._jobs.wait(self.id, timeout)

    async def result(self, timeout: float | None = None) -> Success:
        """Wait for success; see `JobHandle.result`.

        Raises:
            StokerError: The job failed, was canceled or expired.
            TimeoutError: The job was not finished in time.
        """
        result = await self.wait(timeout)
        if isinstance(result, Failure):
            raise result.to_error()
        return result

    def stream(
        self, *, after: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[Piece]:
        """Give the job's text as it is generated; see `Client.stream`.

        Raises:
            StokerError: The job failed, was canceled or expired.
            TimeoutError: It was not finished in time.
            InvalidInput: `after` is no ID of a piece.
        """
        return self._jobs.stream(self.id, after=after, timeout=timeout)

    async def cancel(self) -> CancelAnswer:
        """Cancel the job."""
        return await self._jobs.cancel(self.id)

    async def retry(self) -> RetryAnswer:
        """Run the job again, if it failed, expired or was canceled."""
        return await self._jobs.retry(self.id)

    async def artifact(self, uri: str) -> bytes:
        """Read the bytes of an artifact that the result names.

        Raises:
            Gone: It has expired, or was deleted.
        """
        return await self._jobs.artifact(uri)

    async def delete(self) -> DeleteAnswer:
        """Delete all that is kept of the job, once it is finished."""
        return await self._jobs.delete(self.id)
