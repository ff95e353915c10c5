"""Which job has answered a question before: its stored result is the cache's entry."""

import json
from typing import Any

from stoker_config import keys


class ResultCache:
    """Finds the results of earlier jobs by a digest of what was asked.

    Nothing is stored twice: an entry names a job, and is as good as that job's result. When the
    result expires or is deleted, so does the entry.

    Args:
        client: A redis-py client.
        expires: Seconds after which an entry counts no more.
    """

    def __init__(self, client: Any, expires: int) -> None:
        self._client = client
        self._expires = expires

    def find(self, digest: str) -> dict[str, Any] | None:
        """Give the result of an earlier job, as it is stored, if it succeeded and is there."""
        job_id = self._client.get(keys.cached(digest))
        stored = self._client.get(keys.result(job_id.decode())) if job_id else None
        meta = json.loads(stored) if stored else {}
        found: dict[str, Any] | None = meta["result"] if meta.get("status") == "SUCCESS" else None
        return found

    def note(self, digest: str, job_id: str) -> None:
        """Remember that a job answers this question; one that fails is never read."""
        self._client.set(keys.cached(digest), job_id, ex=self._expires)
