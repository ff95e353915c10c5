"""Takes a message that may run at once in, as Celery's own strategy would, in fewer steps.

Celery promises itself two things for each message (to acknowledge it, to reject it), and keeps both
by a call of its own in a later turn of the event loop. A delivery that a claim has registered needs
neither: the ledger acknowledges whole batches. All else that Celery does is done here as well, in
its order; what has a time, a rate limit or a signal's receiver is left to Celery's strategy.
"""

import logging
from typing import Any

from celery import signals
from celery.app import trace
from celery.worker import state
from celery.worker.request import create_request_cls
from celery.worker.strategy import default
from celery.worker.strategy import logger as shown

from stoker_workers.broker.request import PrivateRequest


class JobStrategy:
    """What is done with the messages of one task while a connection lasts.

    Args:
        task: The Celery task.
        app: The Celery app.
        consumer: Celery's consumer.
        **options: What Celery gives to its own strategy.
    """

    def __init__(self, task: Any, app: Any, consumer: Any, **options: Any) -> None:
        self._stock = default(task, app, consumer, **options)
        self._task = task
        self._app = app
        self._consumer = consumer
        self._eventer = consumer.event_dispatcher
        self._request = create_request_cls(
            PrivateRequest, task, consumer.pool, consumer.hostname, self._eventer, app=app
        )

    def __call__(self, message: Any, *args: Any) -> Any:
        """Take a message in, Celery's way."""
        return self._stock(message, *args)

    def take(self, message: Any) -> bool:
        """Take a message in if nothing but running it has to be done for it.

        Args:
            message: A message of Celery's protocol 2, whose payload has been checked.

        Returns:
            Whether it was taken in; if not, Celery's way is to be gone.
        """
        headers, consumer = message.headers, self._consumer
        if (
            headers.get("eta") is not None
            or headers.get("expires") is not None
            or headers["id"] in state.revoked
            or signals.task_received.receivers
            # An operator may set a limit at any time.
            or (consumer.task_buckets[self._task.name] and not consumer.disable_rate_limits)
            # After a lost connection Celery restores its prefetch count by the promises.
            or (consumer.restart_count and not consumer._maximum_prefetch_restored)
            or getattr(message.channel, "ledger", None) is None
        ):
            return False
        request = self._request(
            message,
            on_ack=message.ack_log_error,
            on_reject=message.reject_log_error,
            app=self._app,
            hostname=consumer.hostname,
            eventer=self._eventer,
            task=self._task,
            connection_errors=consumer.connection_errors,
            body=message.body,
            headers=headers,
            decoded=False,
            utc=True,
        )
        self._tell(request)
        state.task_reserved(request)
        try:
            for callback in consumer.on_task_message:
                callback(request)
            consumer.on_task_request(request)
        except Exception:
            # The message is refused, and nobody else would have Celery forget it.
            state.task_ready(request)
            raise
        return True

    def _tell(self, request: Any) -> None:
        logged, heard = shown.isEnabledFor(logging.INFO), request.heard()
        if not logged and not heard:
            return
        names = {"name": request.name, "args": request.argsrepr, "kwargs": request.kwargsrepr}
        if logged:
            context = {"id": request.id, **names, "eta": None}
            shown.info(trace.LOG_RECEIVED, context, extra={"data": context})
        if heard:
            request.send_event(
                "task-received",
                **names,
                root_id=request.root_id,
                parent_id=request.parent_id,
                retries=request.request_dict.get("retries", 0),
                eta=None,
                expires=None,
            )
