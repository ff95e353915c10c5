"""One attempt: an event is signed, posted, and judged by its receiver's answer."""

import asyncio
import errno
import logging
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from stoker_config.artifacts import ArtifactStore
from stoker_config.secrets import Secrets, SecretsError
from stoker_tasks import signature
from stoker_workers.engine.faults import log_fault
from stoker_workers.outside.addresses import Refused, Unresolved
from stoker_workers.outside.lookups import Unasked
from stoker_workers.outside.posting import Poster
from stoker_workers.webhooks.due import Leased, Noted
from stoker_workers.webhooks.links import refers, with_links
from stoker_workers.webhooks.schedule import next_delay, retry_after

logger = logging.getLogger(__name__)

_MS: Final = 1000.0
_GONE: Final = 410
_TOO_MANY: Final = 429
# This process has no file left for a connection, which says nothing of the receiver.
_OWN_FAULTS: Final = frozenset({errno.EMFILE, errno.ENFILE})
# How many events have their links made at once: each link asks the store.
_LINKING: Final = 16


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a receiver took an event.

    Attributes:
        status: The HTTP status; None if none came.
        error: Why none came: `timeout`, `connection`, `tls`, `unresolved`, `not_allowed`,
            `no_secret` or `internal`.
        retry_after: For how many seconds it asked to be left alone.
    """

    status: int | None = None
    error: str | None = None
    retry_after: float | None = None


class Post:
    """Posts events; of one event loop.

    Args:
        poster: The guarded way to receivers.
        secrets: What signs events.
        timeout: Seconds for one attempt.
        store: Where artifacts are, if URLs lead to them.
    """

    def __init__(
        self,
        poster: Poster,
        secrets: Secrets,
        timeout: float,
        store: ArtifactStore | None = None,
    ) -> None:
        self._store = store
        self._poster = poster
        self._secrets = secrets
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(_LINKING, thread_name_prefix="stoker-links")

    async def __call__(self, event: Leased) -> Noted:
        """Make one attempt. Raises nothing: what is not noted would be tried for ever."""
        at, began = time.time(), time.monotonic()
        try:
            answer = await self._answer(event)
        except Exception as error:  # noqa: BLE001 - a fault of Stoker's own
            log_fault(logger, "an event could not be posted", error)
            answer = Answer(error="internal")
        shown: dict[str, Any] = {
            "at": round(at, 3),
            "ms": round((time.monotonic() - began) * _MS, 1),
            "status": answer.status,
            "error": answer.error,
        }
        return judge(event, answer, shown)

    async def close(self) -> None:
        """Close all connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._poster.close()

    async def _answer(self, event: Leased) -> Answer:
        try:
            keys = self._secrets.keys(event.secret)
        except SecretsError:
            keys = []
        if not keys:
            return Answer(error="no_secret")
        body = await self._linked(event.body)
        headers = {
            "content-type": "application/json",
            "user-agent": "Stoker (Standard Webhooks 1.0.0)",
            **signature.headers(keys, event.id, int(time.time()), body),
        }
        try:
            head = await self._poster.post(event.url, headers, body, self._timeout)
        except Refused:
            return Answer(error="not_allowed")
        except (Unresolved, httpx2.InvalidURL):  # 999.1.1.1, say, is no host's name either
            return Answer(error="unresolved")
        except Unasked:
            logger.warning("too many hosts' names wait to be looked up: some could not be in time")
            return Answer(error="internal")
        except TimeoutError:
            return Answer(error="timeout")
        except ssl.SSLError:
            return Answer(error="tls")
        except OSError as error:
            return Answer(error="internal" if error.errno in _OWN_FAULTS else "connection")
        if _is_taken(head.status_code) or head.status_code == _GONE:
            return Answer(status=head.status_code)
        asked = dict(head.headers).get(b"retry-after", b"").decode("latin-1")
        return Answer(status=head.status_code, retry_after=retry_after(asked))

    async def _linked(self, body: bytes) -> bytes:
        """Add links to an event; none if the store takes too long, as if it were away."""
        if self._store is None or not refers(body):
            return body
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                return await loop.run_in_executor(self._threads, with_links, body, self._store)
        except TimeoutError:
            logger.warning("the artifact store does not answer: an event goes without its links")
            return body


def judge(event: Leased, answer: Answer, shown: dict[str, Any]) -> Noted:
    """Say where an answer leaves an event.

    Args:
        event: The event.
        answer: The answer.
        shown: What is to be shown of the attempt.
    """
    status = answer.status
    if status is not None and _is_taken(status):
        return Noted(outcome="delivered", attempt=shown, origin="well")
    if status == _GONE:
        return Noted(outcome="gone", attempt=shown, origin="well")
    hurt = status is None or status >= 500 or status == _TOO_MANY
    delay = next_delay(event.tries + 1, answer.retry_after)
    return Noted(
        outcome="given_up" if delay is None else "again",
        attempt=shown,
        delay=delay or 0.0,
        # What our own operator did not allow or provide says nothing of the receiver.
        origin=""
        if answer.error in {"not_allowed", "no_secret", "internal"}
        else ("trouble" if hurt else "well"),
        pause=(answer.retry_after or 0.0) if hurt else 0.0,
        took=shown["ms"] / _MS,
    )


def _is_taken(status: int) -> bool:
    return 200 <= status < 300
