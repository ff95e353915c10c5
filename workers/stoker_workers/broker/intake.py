"""Turns a request that Celery has let through into a delivery for the engine.

Celery's own strategy has parsed the message, honoured revokes, expiry, countdowns and rate limits,
and sent the events. What it would give to its pool comes here, if it is a job.
"""

import json
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from stoker_config import keys
from stoker_config.clock import ServerClock
from stoker_tasks.errors import StokerError, TooLarge
from stoker_tasks.event import wish
from stoker_tasks.wire import SUBMITTED_HEADER
from stoker_workers.broker.hub import LoopCalls
from stoker_workers.broker.ledger import ledger_of
from stoker_workers.broker.tasks import PipelineTask
from stoker_workers.engine.delivery import Delivery

Accept = Callable[[Delivery], None]
Refuse = Callable[[Delivery, StokerError], None]

# Lets jobs be known as queued. It begins with a write of nothing, so as not to be refused by a
# server without memory: the messages were there before.
# KEYS: jobs, wishes. ARGV: for each job its line, its ID and who is to be told of
# it ('' for nobody).
_REGISTER: Final = """
redis.call('HDEL', KEYS[1], '')
for at = 1, #ARGV, 3 do
  redis.call('HSETNX', KEYS[1], ARGV[at + 1], ARGV[at])
  if ARGV[at + 2] ~= '' then redis.call('HSET', KEYS[2], ARGV[at + 1], ARGV[at + 2]) end
end
"""


class Intake:
    """What a worker does with each request, in the event loop's thread.

    Args:
        accept: Takes a delivery into the engine.
        refuse: Ends a delivery with an error.
        stock: What Celery does with a request of any other task.
        calls: The way back into the event loop.
        client: A redis-py client.
        clock: The server's clock.
        max_message: Bytes above which arguments are refused.
    """

    def __init__(
        self,
        accept: Accept,
        refuse: Refuse,
        stock: Callable[[Any], None],
        calls: LoopCalls,
        client: Any,
        clock: ServerClock,
        max_message: int,
    ) -> None:
        self._accept = accept
        self._refuse = refuse
        self._stock = stock
        self._calls = calls
        self._clock = clock
        self._max_message = max_message
        self._client = client
        self._foreign: dict[str, tuple[Any, float, str]] = {}
        self._register_queued = client.register_script(_REGISTER)

    def __call__(self, request: Any) -> None:
        """Take a request in."""
        if not isinstance(request.task, PipelineTask):
            self._stock(request)
            return
        if request.revoked():
            return
        ledger = ledger_of(request)
        if ledger is not None:
            ledger.working(request.message.delivery_tag)
        delivery = self._delivery(request)
        size = len(request.message.body)
        if size > self._max_message:
            error = TooLarge(
                f"the message's arguments are {size} bytes, and this worker takes "
                f"{self._max_message} (STOKER_MAX_MESSAGE): submit the job with Stoker's client, "
                f"which sends large inputs beside the message",
                {"size": size, "limit": self._max_message},
            )
            self._refuse(delivery, error)
        else:
            self._accept(delivery)

    def _delivery(self, request: Any) -> Delivery:
        submitted = request.request_dict.get(SUBMITTED_HEADER)
        if not isinstance(submitted, int | float) or not isfinite(submitted):
            submitted = request.submitted_at = self._clock.now()
            if not request.ignore_result:
                wanted = wish(request.kwargs, request.request_dict) if request.listener else ""
                self._register(request, submitted, wanted)
        return Delivery(
            id=request.id,
            celery_task=request.type,
            args=request.args,
            kwargs=request.kwargs,
            submitted=float(submitted),
            priority=_priority(request),
            redelivered=bool(request.delivery_info.get("redelivered")),
            handle=request,
        )

    def _register(self, request: Any, submitted: float, wanted: str) -> None:
        """Let a stock producer's job be known as queued; those that come together in one call."""
        if not self._foreign:
            self._calls.put(self._register_all)
        self._foreign[request.id] = (request, submitted, wanted)

    def _register_all(self) -> None:
        foreign, self._foreign = self._foreign, {}
        self._register_queued(
            keys=[keys.JOBS, keys.WISHES],
            args=[
                arg
                for job_id, (_, submitted, wanted) in foreign.items()
                for arg in (json.dumps([submitted]), job_id, wanted)
            ],
        )
        # A job may have ended before its registration. Looked for after it: whatever ends later
        # takes it off the list itself.
        ended = [job_id for job_id, (request, _, _) in foreign.items() if request.ended]
        if ended:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.hdel(keys.JOBS, *ended)
                pipe.hdel(keys.WISHES, *ended)
                pipe.execute()


def _priority(request: Any) -> int:
    # A stock message without one counts as highest, as on kombu's lists. Of the others it is the
    # list that counts: they take turns, and numbers of a caller's own would be more of these.
    priority = request.delivery_info.get("priority")
    return keys.step_of(priority) if isinstance(priority, int) else 0
