"""A plain Celery app that has nothing of Stoker but its transport."""

import os
import time
from typing import Any

import redis
from celery import Celery, Task, chain
from celery.exceptions import Reject

import stoker_workers.broker.transport  # noqa: F401 - names itself to kombu

URL = os.environ.get("JUDGED_URL", "unix://")
TRANSPORT = os.environ.get("JUDGED_TRANSPORT", "stock")


def make_app(url: str, transport: str) -> Celery:
    """Make the app; all is Celery's default but for what the tests ask about."""
    path = url.removeprefix("unix://")
    scheme = "stoker+socket" if transport == "stoker" else "redis+socket"
    app = Celery("judged", set_as_current=False)
    app.conf.update(
        broker_url=f"{scheme}://{path}",
        result_backend=f"redis+socket://{path}",
        broker_transport_options={
            "priority_steps": [0, 3, 6, 9],
            "queue_order_strategy": "priority",
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        },
        task_default_queue="judged",
        worker_prefetch_multiplier=1,
        result_extended=True,
        task_track_started=True,
    )
    return app


app = make_app(URL, TRANSPORT)


def notes() -> Any:
    """Give a client of the server, on which tasks note what they do."""
    return redis.Redis.from_url(URL, decode_responses=True)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def note(word: Any, *_: Any) -> Any:
    """Note that it ran."""
    with notes() as client:
        client.rpush("notes", str(word))
    return word


@app.task
def errback(request: Any, error: Exception, _traceback: Any) -> None:
    """Note why another task failed."""
    note(error)


@app.task
def nap(seconds: float, word: str = "") -> str:
    """Note that it runs, and take its time."""
    note(word)
    time.sleep(seconds)
    return word


@app.task
def hold(word: str = "") -> str:
    """Note that it runs, and go on until it is let go."""
    note(word)
    with notes() as client:
        client.blpop("go", 60)
    return word


@app.task
def fail(word: str = "no", *_: Any) -> None:
    raise ValueError(word)


@app.task(bind=True, max_retries=3)
def succeed_at(self: "Task[Any, Any]", attempt: int) -> int:
    """Fail until a given attempt."""
    note(self.request.retries)
    if self.request.retries < attempt:
        raise self.retry(countdown=0)
    return int(self.request.retries)


@app.task(bind=True, autoretry_for=(ValueError,), retry_backoff=False, default_retry_delay=0)
def retried(self: "Task[Any, Any]") -> int:
    """Fail once, and be retried by Celery itself."""
    if not self.request.retries:
        raise ValueError
    return int(self.request.retries)


@app.task(bind=True, acks_late=True)
def reject_once(self: "Task[Any, Any]", requeue: bool) -> str:
    """Reject the first delivery."""
    with notes() as client:
        if client.incr(f"rejected:{self.request.id}") == 1:
            raise Reject("not now", requeue=requeue)
    return "taken"


@app.task(bind=True)
def grow(self: "Task[Any, Any]", number: int) -> Any:
    """Be replaced by a chain."""
    return self.replace(chain(add.s(number, 1), add.s(10)))


@app.task(bind=True)
def about(self: "Task[Any, Any]") -> dict[str, Any]:
    """Tell what a task is told of its own delivery."""
    request = self.request
    return {
        "id": request.id,
        "retries": request.retries,
        "priority": request.delivery_info["priority"],
        "redelivered": request.delivery_info["redelivered"],
        "headers": request.headers,
    }


@app.task(acks_late=True)
def nap_late(seconds: float, word: str) -> str:
    """Take its time, and be acknowledged after it."""
    note(word)
    time.sleep(seconds)
    return word
