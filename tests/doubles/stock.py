"""A producer that knows nothing of Stoker: a stock Celery app in a process of its own.

This module imports nothing of Stoker, and each call checks that nothing else in its process did.
"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from typing import Any, Final

from celery import Celery
from celery.canvas import Signature, signature
from celery.result import AsyncResult, result_from_tuple

QUEUE: Final = "stoker"
CLASSIFY: Final = "stoker.text_classification"
GENERATE: Final = "stoker.text_generation"
FILL: Final = "stoker.fill_mask"
SECONDS: Final = 60.0


@dataclass(frozen=True)
class Raised:
    """What `get()` raised, as the producer sees it.

    Attributes:
        type: The exception's class.
        args: Its arguments.
        text: Its words.
    """

    type: str
    args: tuple[Any, ...]
    text: str


class Producer:
    """The producer's process. Its methods run there.

    Args:
        pool: The process.
        url: The broker and result backend, as Celery takes it.
        **conf: Celery settings of its app.
    """

    def __init__(self, pool: ProcessPoolExecutor, url: str, **conf: Any) -> None:
        self._pool = pool
        self._app = (url, tuple(conf.items()))

    def send_task(self, name: str, *args: Any, **options: Any) -> str:
        """Call `app.send_task`; gives the job's ID."""
        return str(self._do(_send_task, name, args, {"queue": QUEUE, **options}))

    def send(self, canvas: Signature, **options: Any) -> Any:
        """Call `apply_async` of a chain, group or chord; gives its result as a tuple."""
        return self._do(_send, canvas, options)

    def publish(self, body: bytes, queue: str, headers: dict[str, Any], **properties: Any) -> None:
        """Send any message whatsoever, through kombu."""
        self._do(_publish, body, queue, headers, properties)

    def get(self, sent: Any) -> Any:
        """Wait for what `send_task` or `send` began; gives its value, or `Raised`."""
        return self._do(_get, sent)

    def state(self, job_id: str) -> str:
        """Read `AsyncResult.state`."""
        return str(self._do(_state, job_id))

    def date_done(self, job_id: str) -> datetime:
        """Read `AsyncResult.date_done`."""
        done = self._do(_date_done, job_id)
        assert isinstance(done, datetime)
        return done

    def revoke(self, job_id: str, **options: Any) -> None:
        """Call `AsyncResult.revoke`."""
        self._do(_revoke, job_id, options)

    def _do(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._pool.submit(_alone, self._app, function, args).result(timeout=90)


@contextmanager
def producer(url: str, **conf: Any) -> Iterator[Producer]:
    """Run a producer for as long as the context lasts."""
    # Spawned: a forked process would have Stoker's modules.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield Producer(pool, url, **conf)


def job(name: str, *args: Any, **kwargs: Any) -> Signature:
    """Describe a job for a canvas, as a stock app does."""
    return signature(name, args=args, kwargs=kwargs, queue=QUEUE)


_apps: dict[Any, Celery] = {}


def _alone(key: tuple[str, tuple[tuple[str, Any], ...]], function: Any, args: Any) -> Any:
    if key not in _apps:
        url, conf = key
        _apps[key] = Celery("shop", broker=url, backend=url)
        _apps[key].conf.update(dict(conf))
    answer = function(_apps[key], *args)
    assert not [name for name in sys.modules if name.startswith("stoker")]
    return answer


def _send_task(app: Celery, name: str, args: Any, options: Any) -> str:
    return str(app.send_task(name, args=args, **options).id)


def _send(app: Celery, canvas: Signature, options: Any) -> Any:
    return canvas.apply_async(**options).as_tuple()


def _publish(app: Celery, body: bytes, queue: str, headers: Any, properties: Any) -> None:
    with app.producer_pool.acquire() as producer:
        producer.publish(body, exchange="", routing_key=queue, headers=headers, **properties)


def _get(app: Celery, sent: Any) -> Any:
    result = AsyncResult(sent, app=app) if isinstance(sent, str) else result_from_tuple(sent, app)
    try:
        return result.get(timeout=SECONDS)
    except Exception as error:  # noqa: BLE001 - what it is, is what the tests ask
        return Raised(type(error).__name__, error.args, str(error))


def _state(app: Celery, job_id: str) -> str:
    return str(app.AsyncResult(job_id).state)


def _date_done(app: Celery, job_id: str) -> Any:
    return app.AsyncResult(job_id).date_done


def _revoke(app: Celery, job_id: str, options: Any) -> None:
    app.AsyncResult(job_id).revoke(**options)
