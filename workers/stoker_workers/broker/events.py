"""Celery's events, batched, and made of tasks only while somebody listens.

Three events a job are a quarter of what a worker spends on it beside its forward pass. Redis says
of each message to all how many have heard it, so those about tasks can be left out while nobody
does. With each sign of life of the worker an empty one asks again: a monitor sees all that begins
after the first sign of life that it has of a worker.
"""

from time import monotonic
from typing import Any, Final

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher

_BUFFERED: Final = 1000
# How often a worker without heartbeats asks, by sending the next event of a task after all.
_ASK_SECONDS: Final = 2.0
_OF_TASKS: Final = "task.multi"


class JobEventDispatcher(EventDispatcher):
    """A dispatcher that keeps quiet about tasks while nobody listens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # All events of one turn of the loop in one message: a batch makes many at once.
        self.buffer_limit = _BUFFERED
        self._heard = True
        self._asked = 0.0

    def send(self, type: str, *args: Any, **fields: Any) -> None:
        """Send an event, unless it is of a task and nobody listens."""
        if type[:5] != "task-" or self.hears():
            super().send(type, *args, **fields)

    def hears(self) -> bool:
        """Tell whether somebody listens to events of tasks, or is to be asked by the next one."""
        return self._heard or monotonic() - self._asked > _ASK_SECONDS

    def _publish(self, event: Any, producer: Any, routing_key: str, **kwargs: Any) -> None:
        super()._publish(event, producer, routing_key, **kwargs)
        if routing_key == _OF_TASKS and producer is not None:
            # kombu's own transport does not say how many have heard it: then all are sent.
            listeners = getattr(producer.channel, "listeners", None)
            self._heard = listeners is None or listeners > 0
            self._asked = monotonic()
        elif routing_key == "worker.heartbeat" and not self._heard:
            self._publish([], producer, _OF_TASKS)


class JobEvents(Events):
    """What `app.events` is in a worker."""

    dispatcher_cls = f"{JobEventDispatcher.__module__}:{JobEventDispatcher.__name__}"
