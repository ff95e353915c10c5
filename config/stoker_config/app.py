"""The Celery app that producers, workers and Flower share."""

from typing import Any

from celery import Celery

from stoker_config.keys import PRIORITY_STEPS
from stoker_config.sentinel import celery_options
from stoker_config.settings import Settings, load_settings
from stoker_tasks.wire import PRIORITIES, queue_name


def make_app(
    settings: Settings,
    *,
    result_backend: str | None = None,
    events: type | None = None,
    **conf: Any,
) -> Celery:
    """Make the app of one process.

    Args:
        settings: Its settings.
        result_backend: Another backend than Celery's plain Redis one, for a worker.
        events: Another class than Celery's own for `app.events`, for a worker.
        **conf: Further Celery settings, for a worker.

    Returns:
        A Celery app that sends and takes JSON only, and whose default queue is the pool's.
    """
    of_sentinels: dict[str, Any] = {}
    if settings.sentinels is not None:
        of_sentinels = celery_options(settings.master_name, settings.sentinel_kwargs)
    app = Celery("stoker", events=events, set_as_current=False)
    app.conf.update(
        broker_url=settings.celery_redis,
        result_backend=result_backend or settings.of_results.celery_redis,
        accept_content=["json"],
        result_accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        result_expires=settings.result_expires,
        task_default_queue=queue_name(settings.pool),
        task_default_priority=PRIORITIES["normal"],
        broker_transport_options={
            "priority_steps": list(PRIORITY_STEPS),
            "queue_order_strategy": "priority",
            "visibility_timeout": settings.visibility_timeout,
            **of_sentinels,
        },
        result_backend_transport_options={} if settings.apart else of_sentinels,
        broker_connection_retry_on_startup=True,
        enable_utc=True,
    )
    app.conf.update(conf)
    return app


def __getattr__(name: str) -> Celery:
    # Flower and `celery -A stoker_config.app`, which only look on, want a module's `app`; making it
    # only then keeps an import free of the environment.
    if name == "app":
        globals()["app"] = app = make_app(load_settings())
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
