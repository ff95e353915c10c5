"""The engine's outlet: writes into Redis what becomes of deliveries, and has Celery told of it."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import redis
from celery.worker import state
from kombu.exceptions import OperationalError

from stoker_config import keys, outbox
from stoker_config.clock import ServerClock
from stoker_config.lapsed import DIED
from stoker_config.once import KEEP_ALL
from stoker_config.retention import Retention
from stoker_config.servers import connect
from stoker_config.settings import Settings
from stoker_tasks.errors import Poison
from stoker_tasks.event import Event
from stoker_tasks.result import Failure, Success
from stoker_tasks.wire import COUNTED_HEADER, IDEMPOTENCY_HEADER
from stoker_workers.broker import fast_lane
from stoker_workers.broker.concluding import (
    conclude,
    conclude_revoked,
    end_all,
    give_back,
    note_started,
)
from stoker_workers.broker.hub import LoopCalls
from stoker_workers.broker.kept import keep_messages
from stoker_workers.broker.ledger import Ledger, ledger_of
from stoker_workers.broker.results import Deliveries
from stoker_workers.broker.returning import count_starts, give_back_marked, suspect
from stoker_workers.broker.streaming import Streams
from stoker_workers.engine.delivery import Deaths, Delivery, Outcome, Said

# What a server that is away or refuses raises, in redis-py's words or in kombu's.
_SERVER_ERRORS: Final = (redis.RedisError, OperationalError)

# Whoever gave a redelivered job back has counted the death of its worker already, unless that was
# kombu's own transport: this tells nobody why a job comes again, so that each time counts.
# KEYS: the job's deaths, its starts, the deaths beside it. ARGV: its ID, '1' if it came by kombu's
# own transport.
_COUNT_DEATH: Final = (
    DIED
    + """
if ARGV[2] == '1' then holder_died(ARGV[1]) else died(ARGV[1]) end
local counts = redis.call('MGET', unpack(KEYS))
return {tonumber(counts[1] or '-1'), tonumber(counts[2] or '0'), tonumber(counts[3] or '0')}
"""
)

# Marks jobs as running, and looks which of them were canceled: in one step, so that whoever cancels
# finds a job either running or waiting. It begins with a write of nothing, which takes no memory:
# so it is not refused while Redis has none left, and a queue that has filled it can be worked off.
# KEYS: running, then the jobs' tombstones. ARGV: the time, then their IDs.
_BEGIN: Final = """
redis.call('ZREM', KEYS[1], '')
local marks = {}
for i = 2, #ARGV do marks[#marks + 1] = ARGV[1]; marks[#marks + 1] = ARGV[i] end
redis.call('ZADD', KEYS[1], unpack(marks))
return redis.call('MGET', unpack(KEYS, 2))
"""


class CeleryOutlet:
    """The engine's outlet into a Celery worker. Its methods run in the engine's threads.

    Args:
        calls: The way into the event loop.
        client: A redis-py client.
        clock: The server's clock.
        settings: For how long what is left of a job is kept.
    """

    def __init__(
        self, calls: LoopCalls, client: Any, clock: ServerClock, settings: Settings
    ) -> None:
        self._calls = calls
        self._retention = Retention(settings.result_expires, settings.retention_max)
        self._client = client
        self._clock = clock
        self._settings = settings
        self._begin = client.register_script(_BEGIN)
        self._count_death = client.register_script(_COUNT_DEATH)
        self._tell = client.register_script(outbox.TELL)
        self._keep_keys = client.register_script(KEEP_ALL)
        # Text that finds no memory waits for its next piece: results must not wait for it.
        growing = partial(connect, patient=True, when_full=False)
        self._streams = Streams(
            growing(settings), growing(settings.of_results) if settings.apart else None
        )

    def now(self) -> float:
        """Give seconds since the epoch by the server's clock."""
        return self._clock.now()

    def deaths(self, delivery: Delivery) -> Deaths:
        """Count the deaths that this redelivered job may have caused."""
        job, stock = delivery.id, ledger_of(delivery.handle) is None
        deaths, starts, beside = self._count_death(
            keys=[keys.deaths(job), keys.starts(job), keys.beside(job)], args=[job, int(stock)]
        )
        delivery.handle.starts = max(delivery.handle.starts, int(starts))
        return Deaths(int(deaths) if deaths >= 0 else None, int(beside))

    def blame(self, delivery: Delivery) -> bool:
        """Mark a job as running before it is preprocessed; False if nobody waits for it."""
        begin = [keys.RUNNING, keys.canceled(delivery.id)]
        [tombstone] = self._begin(keys=begin, args=[self.now(), delivery.id])
        return tombstone is None and not _is_revoked(delivery.handle)

    def clear(self, delivery: Delivery) -> None:
        """Mark a job as running no more: it is preprocessed, and waits."""
        self._forget([delivery], queued=False)

    def abandoned(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Pick what was canceled, revoked or has expired; mark the others as running."""
        if not deliveries:
            return ()
        ids = [delivery.id for delivery in deliveries]
        begin = partial(
            self._begin, keys=[keys.RUNNING, *map(keys.canceled, ids)], args=[self.now(), *ids]
        )
        starts = [event for delivery in deliveries if (event := _start_of(delivery))]
        if starts:
            with self._client.pipeline(transaction=True) as pipe:
                begin(client=pipe)
                self._tell_all(starts, keys.canceled, pipe)
                tombstones, *_ = pipe.execute()
        else:
            tombstones = begin()
        return [
            delivery
            for delivery, tombstone in zip(deliveries, tombstones, strict=True)
            if tombstone is not None or _is_revoked(delivery.handle)
        ]

    def started(self, deliveries: Sequence[Delivery]) -> None:
        """Have Celery note that these run."""
        now = self.now()
        for delivery in deliveries:
            delivery.handle.started_at = now
        self._calls.put(partial(note_started, deliveries, time.time()))

    def said(self, said: Sequence[Said]) -> Sequence[Delivery]:
        """Hand on new text of running jobs."""
        return self._streams.said(said)

    def dropped(self, deliveries: Sequence[Delivery]) -> None:
        """Have Celery conclude these as revoked."""
        for each in deliveries:
            each.handle.ended = True
        self._forget(deliveries)
        self._let_keys_lapse(deliveries)
        self._calls.put(partial(conclude_revoked, deliveries))

    def returned(
        self, deliveries: Sequence[Delivery], suspects: Sequence[Delivery], *, guilty: bool
    ) -> None:
        """Give deliveries back at once: a stage died of them."""
        self._forget(deliveries, queued=False)
        count_starts(self._client, [each.id for each in deliveries if each.handle.started_at])
        suspect(self._client, [each.id for each in suspects], guilty=guilty)
        self._calls.put(partial(give_back_marked, [each.handle for each in deliveries]))

    def finished(self, outcomes: Sequence[tuple[Delivery, Outcome]]) -> None:
        """Run Celery's tracer for each outcome, then store all and acknowledge them."""
        left: Sequence[tuple[Delivery, Outcome]] = outcomes
        unsent: Sequence[Delivery] = ()
        try:
            canceled = self.canceled([delivery for delivery, _ in left])
            if canceled:
                self.dropped(canceled)
                gone = set(map(id, canceled))
                left = [each for each in left if id(each[0]) not in gone]
            if left:
                unsent = self._finish(left)
        except Exception as error:
            # The server is no fault of a message's, and is the same for each of them.
            if len(left) > 1 and not isinstance(error, _SERVER_ERRORS):
                self._finish_singly(left)
                return
            self._leave([delivery for delivery, _ in left])
            raise
        if unsent:
            self._leave(unsent)

    def _finish_singly(self, outcomes: Sequence[tuple[Delivery, Outcome]]) -> None:
        """End all but those whose own fault it is that all together could not be ended."""
        fault: Exception | None = None
        for each in outcomes:
            try:
                self.finished([each])
            except Exception as error:  # noqa: BLE001 - it is given back, and costs no other
                fault = error
        if fault is not None:
            try:
                raise fault
            finally:
                del fault  # its traceback has this frame, and the outcomes with it

    def _leave(self, deliveries: Sequence[Delivery]) -> None:
        """Leave it to other deliveries of these jobs to end them."""
        try:
            self._forget(deliveries, queued=False)
            count_starts(self._client, [each.id for each in deliveries if each.handle.started_at])
        finally:
            # Else their leases would be renewed, with nobody at work.
            self._calls.put(partial(give_back, deliveries))

    def _finish(self, outcomes: Sequence[tuple[Delivery, Outcome]]) -> Sequence[Delivery]:
        """End jobs; give those whose links cannot be sent for now."""
        for each, _ in outcomes:
            each.handle.ended = True
        failures = [(each, error) for each, error in outcomes if not isinstance(error, Success)]
        ledger = ledger_of(outcomes[0][0].handle)
        asked = {
            each.id: each.kwargs["retention"] for each, _ in outcomes if "retention" in each.kwargs
        }
        keep = {job: self._retention.of(seconds) for job, seconds in asked.items()}
        deliveries = replace(_deliveries(ledger, [each for each, _ in outcomes]), keep=keep)
        # What is poison is a dead letter; all else may be repeated by a person.
        self._keep_dead([each for each, error in failures if isinstance(error, Poison)])
        failed = [each for each, error in failures if not isinstance(error, Poison)]
        seconds = self._settings.result_expires
        keep_messages(self._client, [(each.handle, keep.get(each.id, seconds)) for each in failed])
        tasks = {each.handle.task for each, _ in outcomes}
        quick = fast_lane.open_to(tasks) if self._settings.fast_lane else ()
        backend = outcomes[0][0].handle.task.backend
        with backend.collect(deliveries) as stored:
            ended, unsent = end_all(backend, outcomes, quick)
        if unsent:
            back = set(map(id, unsent))
            outcomes = [each for each in outcomes if id(each[0]) not in back]
        unstored = [each for each, _ in outcomes if each.id not in stored]
        if unstored:
            ends = [
                event
                for each, result in outcomes
                if each.handle.ignore_result and (event := _end_of(each, result))
            ]
            if ends:
                self._tell_all(ends, keys.result)
            self._forget(unstored)
        self._let_keys_lapse([delivery for delivery, _ in outcomes])
        if ledger is not None:
            ledger.acknowledged(tag for job, tag in deliveries.tags.items() if job in stored)
        # Celery is told last, and acknowledges what storing did not: the jobs whose results nobody
        # wants, and all on kombu's own transport. A crash before it repeats them, and loses none.
        self._calls.put(partial(conclude, ended))
        return unsent

    def _tell_all(
        self, events: Sequence[Event], unless: Callable[[str], str], client: Any = None
    ) -> None:
        """Put events into the outbox, but for those of jobs for which a key exists."""
        self._tell(
            keys=[unless(event.job) for event in events], args=outbox.flat(events), client=client
        )

    def _forget(self, deliveries: Sequence[Delivery], *, queued: bool = True) -> None:
        """Take jobs off the list of those that run, and of those that are queued."""
        ids = [delivery.id for delivery in deliveries]
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zrem(keys.RUNNING, *ids)
            if queued:
                pipe.hdel(keys.JOBS, *ids)
                pipe.hdel(keys.WISHES, *ids)
                for delivery in deliveries:
                    if tenant := delivery.handle.request_dict.get(COUNTED_HEADER):
                        pipe.srem(keys.tenant(str(tenant)), delivery.id)
            pipe.execute()

    def _let_keys_lapse(self, deliveries: Sequence[Delivery]) -> None:
        """Count the time of idempotency keys from now on: their jobs have ended."""
        keyed = [each.id for each in deliveries if each.handle.request_dict.get(IDEMPOTENCY_HEADER)]
        if keyed:
            self._keep_keys(args=[self._settings.idempotency_expires, *keyed])

    def _keep_dead(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            message = delivery.handle.message
            self._client.hset(keys.DEAD, delivery.id, json.dumps(message._raw))

    def canceled(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Pick those that were canceled, or revoked with `terminate=True`, while they ran."""
        if not deliveries:
            return []
        tombstones = self._client.mget([keys.canceled(delivery.id) for delivery in deliveries])
        return [
            delivery
            for delivery, tombstone in zip(deliveries, tombstones, strict=True)
            if tombstone is not None or delivery.handle.discard
        ]


def _deliveries(ledger: Ledger | None, deliveries: Sequence[Delivery]) -> Deliveries:
    if ledger is None:
        return Deliveries()
    tags = {each.id: each.handle.message.delivery_tag for each in deliveries}
    return Deliveries(index=ledger.index, table=ledger.table, tags=tags)


def _start_of(delivery: Delivery) -> Event | None:
    listener = delivery.handle.listener
    return listener and listener.started(delivery.id)  # type: ignore[no-any-return]


def _end_of(delivery: Delivery, outcome_: Outcome) -> Event | None:
    result = outcome_ if isinstance(outcome_, Success) else Failure.of(outcome_)
    listener = delivery.handle.listener
    return listener and listener.completed(delivery.id, result)  # type: ignore[no-any-return]


def _is_revoked(request: Any) -> bool:
    if request.id in state.revoked:
        return True
    expires = request.expires
    return expires is not None and datetime.now(UTC if expires.tzinfo else None) > expires
