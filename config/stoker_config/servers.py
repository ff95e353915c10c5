"""Connections to the Redis server that the settings name."""

import redis

from stoker_config.settings import Settings


def connect(settings: Settings) -> "redis.Redis[bytes]":
    """Open a client with a pool of its own.

    Args:
        settings: Where the server is.

    Returns:
        A client whose replies are bytes. Nothing is sent until it is used.
    """
    options = {} if settings.redis.startswith("unix://") else {"socket_keepalive": True}
    return redis.Redis.from_url(
        settings.redis, health_check_interval=30, socket_connect_timeout=10, **options
    )
