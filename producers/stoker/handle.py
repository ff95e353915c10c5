"""A hold on a job that was submitted: poll it, wait for it, follow it, cancel it."""

from collections.abc import Iterator
from typing import Protocol

from stoker.delete import DeleteAnswer
from stoker.retry import RetryAnswer
from stoker.status import CancelAnswer, Status
from stoker_tasks.result import Failure, Result, Success
from stoker_tasks.streaming import Piece


class Jobs(Protocol):
    """What a handle needs of its client."""

    def status(self, job_id: str) -> Status:
        """Say where a job stands."""

    def wait(self, job_id: str, timeout: float | None = None) -> Result:
        """Wait for a job's result."""

    def stream(
        self, job_id: str, *, after: str | None = None, timeout: float | None = None
    ) -> Iterator[Piece]:
        """Give the text of a job as it is generated."""

    def cancel(self, job_id: str) -> CancelAnswer:
        """Cancel a job."""

    def artifact(self, uri: str) -> bytes:
        """Read the bytes of an artifact."""

    def delete(self, job_id: str) -> DeleteAnswer:
        """Delete all that is kept of a finished job."""

    def retry(self, job_id: str) -> RetryAnswer:
        """Run a job again that ended without success."""


class JobHandle:
    """One submitted job.

    Args:
        jobs: The client that reads it.
        job_id: Its ID.
    """

    __slots__ = ("_jobs", "id")

    def __init__(self, jobs: Jobs, job_id: str) -> None:
        self._jobs = jobs
        self.id = job_id

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r})"

    def status(self) -> Status:
        """Say where the job stands, without waiting."""
        return self._jobs.status(self.id)

    def wait(self, timeout: float | None = None) -> Result:
        """Wait for the result, whatever it is.

        Args:
            timeout: Seconds; for ever if None.

        Raises:
            TimeoutError: The job was not finished in time.
        """
        return self._jobs.wait(self.id, timeout)

    def result(self, timeout: float | None = None) -> Success:
        """Wait for success.

        Args:
            timeout: Seconds; for ever if None.

        Raises:
            StokerError: The job failed, was canceled or expired.
            TimeoutError: The job was not finished in time.
        """
        result = self.wait(timeout)
        if isinstance(result, Failure):
            raise result.to_error()
        return result

    def stream(self, *, after: str | None = None, timeout: float | None = None) -> Iterator[Piece]:
        """Give the job's text as it is generated; see `Client.stream`.

        Raises:
            StokerError: The job failed, was canceled or expired.
            TimeoutError: It was not finished in time.
            InvalidInput: `after` is no ID of a piece.
        """
        return self._jobs.stream(self.id, after=after, timeout=timeout)

    def cancel(self) -> CancelAnswer:
        """Cancel the job."""
        return self._jobs.cancel(self.id)

    def artifact(self, uri: str) -> bytes:
        """Read the bytes of an artifact that the result names.

        Raises:
            Gone: It has expired, or was deleted.
        """
        return self._jobs.artifact(uri)

    def delete(self) -> DeleteAnswer:
        """Delete all that is kept of the job, once it is finished."""
        return self._jobs.delete(self.id)

    def retry(self) -> RetryAnswer:
        """Run the job again, if it failed, expired or was canceled."""
        return self._jobs.retry(self.id)
