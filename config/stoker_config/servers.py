"""Connections to the Redis server that the settings name."""

from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from stoker_config.settings import Settings


def connect(settings: Settings, *, patient: bool = False) -> Any:
    """Open a client with a pool of its own.

    Args:
        settings: Where the server is.
        patient: Repeat a command for as long as the server is away, rather than fail: for what may
            be repeated without harm, by a process that could not go on without the answer.

    Returns:
        A redis-py client whose replies are bytes. Nothing is sent until it is used.
    """
    options: dict[str, Any] = {}
    if not settings.redis.startswith("unix://"):
        options["socket_keepalive"] = True
    if patient:
        options["retry"] = Retry(ExponentialBackoff(cap=2.0, base=0.05), -1)
    return redis.Redis.from_url(
        settings.redis, health_check_interval=30, socket_connect_timeout=10, **options
    )
