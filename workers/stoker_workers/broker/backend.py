"""Celery's Redis result backend: all results of a batch, and what is told of them, in one step."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import redis
from celery.states import PENDING, STARTED
from pydantic_core import to_json

from stoker_config import keys
from stoker_config.clock import ServerClock
from stoker_tasks.event import Event, Listener
from stoker_tasks.stored import read
from stoker_tasks.wire import COUNTED_HEADER
from stoker_workers.broker.links import LinkingBackend, Unsent
from stoker_workers.broker.request import LISTENER, TIMES
from stoker_workers.broker.results import Deliveries, Stored, calls
from stoker_workers.broker.storing import STORE, STORE_WHEN_FULL, numbered, run_or_when_full
from stoker_workers.broker.tasks import Returned
from stoker_workers.broker.writing import written

logger = logging.getLogger(__name__)

_RESULT: Final = keys.result("")


class CollectingBackend(LinkingBackend):
    """A Redis backend whose writes of one thread can be collected and sent together.

    What it stores is what Celery's own backend stores, so any client of Celery reads it.
    """

    connection_errors: tuple[type[Exception], ...]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A server without memory is one that is away: what it holds expires, or is read and goes.
        self.connection_errors = (*self.connection_errors, redis.OutOfMemoryError)
        self._store: Any = None
        self._store_when_full: Any = None
        self._clock: ServerClock | None = None

    @property
    def broker(self) -> Any:
        """A client of the server that jobs come from: as a rule that of their results as well."""
        return self.client

    @contextmanager
    def collect(self, deliveries: Deliveries | None = None) -> Iterator[dict[str, Stored]]:
        """Hold this thread's results back, and store them all when the context ends.

        If the context ends with an exception, nothing is stored.

        Args:
            deliveries: The deliveries to acknowledge with the results, and how long these are kept.

        Yields:
            The results, by their jobs' IDs, as they are collected.
        """
        deliveries = deliveries or Deliveries()
        results: dict[str, Stored] = {}
        with self.deferring():
            self._thread.results, self._thread.keep = results, deliveries.keep
            self._thread.done = None
            try:
                yield results
            finally:
                self._thread.results = self._thread.keep = None
            refused: list[Stored] = []
            for call in calls(list(results.values())):
                # Storing is fenced, so it may be repeated until the server is back.
                refused += self.ensure(self._store_or_refuse, (call, deliveries), max_retries=None)
            if refused:
                self.ensure(self._store_singly, (refused, deliveries), max_retries=None)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Forget one job's results, and what it leaves, if the context ends with `Unsent`."""
        results = self._collecting()
        assert results is not None
        known = len(results)
        try:
            with super().whole():
                yield
        except Unsent:
            for job_id in list(results)[known:]:
                del results[job_id]
            raise

    @contextmanager
    def keeping(self, keep: Mapping[str, int]) -> Iterator[None]:
        """Keep results that this thread stores while the context lasts for times of their own.

        Args:
            keep: Seconds, by the job's ID.
        """
        self._thread.keep = keep
        try:
            yield
        finally:
            self._thread.keep = None

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **options: Any,
    ) -> Any:
        """Store a job's state and, if it is the last one, what is told of it."""
        self._thread.listener = getattr(request, LISTENER, None)
        self._thread.tenant = getattr(request, COUNTED_HEADER, None)
        try:
            return super().store_result(task_id, result, state, traceback, request, **options)
        finally:
            self._thread.listener = self._thread.tenant = None

    def on_connection_error(
        self, max_retries: Any, exc: Exception, intervals: Iterator[float], retries: int
    ) -> float:
        """Say why a result has to wait, and for how long."""
        if isinstance(exc, redis.OutOfMemoryError):
            logger.error("Redis has no memory for results (maxmemory); they wait until it has")
            return next(intervals)
        return float(super().on_connection_error(max_retries, exc, intervals, retries))

    def _get_task_meta_for(self, task_id: Any) -> Any:
        # While results are collected there are none to compare with: storing is fenced.
        if self._collecting() is not None:
            return {"status": PENDING, "result": None}
        return super()._get_task_meta_for(task_id)

    def set(self, key: Any, value: Any, expires: Any = None, **retry_policy: Any) -> Any:
        """Store a key, or hold it back while results are collected."""
        job_id = _job_of(key)
        if job_id is None or len(value) > self._MAX_STR_VALUE_SIZE:
            return super().set(key, value, expires=expires, **retry_policy)
        stored = Stored(
            job=job_id,
            key=key,
            value=value,
            expires=self._seconds(job_id, self.expires if expires is None else expires),
            event=self._event(job_id, value),
            tenant=str(getattr(self._thread, "tenant", None) or ""),
            listener=getattr(self._thread, "listener", None),
        )
        results = self._collecting()
        if results is None:
            # Fenced like the others, and the job is known as queued no longer.
            return self.ensure(self._store_all, ([stored], Deliveries()), **retry_policy)
        # The first state that Celery gives a job stands: what fails later is not the job's.
        results.setdefault(job_id, stored)
        return None

    def store_success(self, request: Any, returned: Returned) -> bool:
        """Collect the success of a job without links: what `store_result` would, and as it would.

        Args:
            request: Celery's request of the job's delivery.
            returned: The job's success.

        Returns:
            Whether its size can be stored.

        Raises:
            ValueError: Its output is not JSON.
        """
        results = self._collecting()
        assert results is not None
        # All that are collected are stored in one step, and so at one time.
        if self._thread.done is None:
            self._thread.done = datetime.now(UTC).isoformat(), self._now()
        date_done, now = self._thread.done
        rest: dict[str, Any] = {"traceback": None, "children": [], "date_done": date_done}
        if request.parent_id:
            rest["parent_id"] = request.parent_id
        job_id = request.id
        seconds = self._seconds(job_id, self.expires)
        rest["times"] = _with_ends(request.times(), now, seconds)
        rest["task_id"] = job_id
        # What came as JSON goes as JSON: nothing in it needs kombu's encoder, or Celery's.
        value = written(returned, to_json(rest).decode())
        if len(value) > self._MAX_STR_VALUE_SIZE:
            return False
        tenant = str(request.request_dict.get(COUNTED_HEADER) or "")
        results.setdefault(
            job_id, Stored(job_id, self.get_key_for_task(job_id), value, seconds, None, tenant)
        )
        return True

    def _get_result_meta(
        self, result: Any, state: str, traceback: Any, request: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Give what is stored of a result: Celery's own, and the times of a job beside it."""
        meta = super()._get_result_meta(result, state, traceback, request, *args, **kwargs)
        times = getattr(request, TIMES, None)
        if request is not None and times is not None:
            seconds = self._seconds(request.id, self.expires)
            meta["times"] = _with_ends(times, self._now(), seconds)
        return meta

    def _now(self) -> float:
        if self._clock is None:
            self._clock = ServerClock(self.broker)
        return self._clock.now()

    def get_state(self, task_id: str) -> Any:
        """Read a job's state; one that a worker runs has started, though no state says so.

        Each worker that hears of a revoke asks here whether the job is still to be prevented.
        """
        state = super().get_state(task_id)
        if state == PENDING and self.broker.zscore(keys.RUNNING, task_id) is not None:
            return STARTED
        return state

    def _event(self, job_id: str, value: Any) -> Event | None:
        """Tell what is stored, and nothing else; None if nobody is to be told."""
        listener: Listener | None = getattr(self._thread, "listener", None)
        ended = read(value) if listener else None
        return listener.completed(job_id, ended) if listener and ended else None

    def _collecting(self) -> dict[str, Stored] | None:
        return getattr(self._thread, "results", None)

    def _seconds(self, job_id: str, usual: float | None) -> int:
        """Say how long a job's result is kept; 0 for ever."""
        keep: Mapping[str, int] = getattr(self._thread, "keep", None) or {}
        return keep.get(job_id) or int(usual or 0)

    def _store_or_refuse(self, results: list[Stored], deliveries: Deliveries) -> list[Stored]:
        """Store results together; give them back if the server has no memory for all of them."""
        try:
            self._store_all(results, deliveries)
        except redis.OutOfMemoryError:
            return results
        return []

    def _store_singly(self, results: list[Stored], deliveries: Deliveries) -> None:
        """Store those for which the server has memory, and take them off the list.

        Raises:
            redis.OutOfMemoryError: Some are left: larger than the messages that go.
        """
        refusal = None
        for each in tuple(results):
            try:
                self._store_all([each], deliveries)
            except redis.OutOfMemoryError as error:
                refusal = error
            else:
                results.remove(each)
        if refusal is not None:
            raise refusal

    def _store_all(self, results: list[Stored], deliveries: Deliveries) -> None:
        told = numbered([each.event for each in results])
        names = (keys.JOBS, keys.RUNNING, deliveries.index, deliveries.table)
        late = self._run_store(
            keys=[*names, *(each.key for each in results)],
            args=[
                arg
                for each in results
                for arg in (
                    each.value,
                    each.expires,
                    deliveries.tags.get(each.job, ""),
                    each.tenant,
                )
            ]
            + told,
        )
        if late:
            logger.warning("%d jobs had gone to another worker; their results are dropped", late)

    def _run_store(self, **call: Any) -> int:
        if self._store is None:
            self._store = self.client.register_script(STORE)
            self._store_when_full = self.client.register_script(STORE_WHEN_FULL)
        return int(run_or_when_full(self._store, self._store_when_full, **call))


def _with_ends(times: Mapping[str, Any], now: float, seconds: int) -> dict[str, Any]:
    """Complete a job's times: it ends now, and its result is kept for so many seconds."""
    expires_at = now + seconds if seconds else None
    return {**times, "finished_at": now, "expires_at": expires_at}


def _job_of(key: Any) -> str | None:
    """Give the job whose result a key holds; None if it holds none."""
    text = key.decode() if isinstance(key, bytes) else str(key)
    return text[len(_RESULT) :] if text.startswith(_RESULT) else None
