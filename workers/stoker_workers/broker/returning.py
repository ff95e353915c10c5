"""Gives back what this worker has begun and will not end, and notes its starts and suspects."""

import logging
from collections.abc import Sequence
from typing import Any

import redis
from celery.worker import state

from stoker_config import keys
from stoker_config.lapsed import COUNT_SECONDS
from stoker_workers.broker import leases
from stoker_workers.broker.ledger import ledger_of
from stoker_workers.engine.faults import log_fault

logger = logging.getLogger(__name__)


def count_starts(client: Any, ids: Sequence[str]) -> None:
    """Remember that deliveries of these jobs were started, which will not end them.

    Args:
        client: A redis-py client.
        ids: The jobs.
    """
    if not ids:
        return
    with client.pipeline(transaction=False) as pipe:
        for job_id in ids:
            pipe.incr(keys.starts(job_id))
            pipe.expire(keys.starts(job_id), COUNT_SECONDS)
        pipe.execute()


def suspect(client: Any, ids: Sequence[str], *, guilty: bool) -> None:
    """Note jobs that a stage may have died of: they run alone from now on.

    Args:
        client: A redis-py client.
        ids: The jobs.
        guilty: Whether it died of them for certain. Else no death is counted, only the suspicion.
    """
    with client.pipeline(transaction=True) as pipe:
        for job_id in ids:
            key = keys.deaths(job_id)
            if guilty:
                pipe.incr(key)
            else:
                pipe.set(key, 0, nx=True)
            pipe.expire(key, COUNT_SECONDS)
        pipe.execute()


def give_back_marked(requests: Sequence[Any]) -> None:
    """Give deliveries back at once, marked as delivered before; in the event loop's thread.

    Args:
        requests: Celery's records of them.
    """
    # The last one put back is the first one served.
    for request in reversed(requests):
        state.task_ready(request)
        try:
            _give_back(request)
        except Exception as error:  # noqa: BLE001 - one must not cost the others
            log_fault(logger, "a job could not be given back", error)


def _give_back(request: Any) -> None:
    ledger = ledger_of(request)
    if ledger is not None:
        channel, tag = request.message.channel, request.message.delivery_tag
        try:
            leases.give_back_marked(ledger, [tag], channel.queues_of)
        except redis.RedisError:
            # The server is away: it goes back unmarked, with the heartbeat that reaches it.
            ledger.give_back_soon([tag])
    # Here to give its place in the prefetch count back; on kombu's own transport, which marks it,
    # to give back the job as well.
    request.reject(requeue=True)
