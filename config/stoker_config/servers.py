"""Connections to the Redis server that the settings name, or that Sentinel says is the master."""

import re
from typing import Any, Final
from uuid import uuid4

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from stoker_config import keys
from stoker_config.sentinel import master_client
from stoker_config.settings import Settings

# Seconds without an answer after which a connection counts as lost: else a path that drops packets
# without a word would hold a heartbeat until the kernel gives up, a quarter of an hour later.
ANSWER_SECONDS: Final = 30.0
# The oldest Redis that has all the commands, such as BLMOVE.
OLDEST: Final = (6, 2)


def connect(settings: Settings, *, patient: bool = False, when_full: bool = True) -> Any:
    """Open a client with a pool of its own.

    Args:
        settings: Where the server is.
        patient: Repeat a command for as long as the server is away or out of memory, rather than
            fail: for what may be repeated without harm, by a process that could not go on without
            the answer.
        when_full: Whether to be patient with a server that is out of memory as well.

    Returns:
        A redis-py client whose replies are bytes. Nothing is sent until it is used.
    """
    options = _options(settings)
    if patient:
        options["retry"] = Retry(ExponentialBackoff(cap=2.0, base=0.05), -1)
        options["retry_on_error"] = [redis.OutOfMemoryError] if when_full else []
    if settings.sentinels is not None:
        return _master(settings, options)
    return redis.Redis.from_url(settings.redis, **options)


def connect_async(settings: Settings) -> Any:
    """Open a client of redis.asyncio, as `connect` does."""
    from redis.asyncio import Redis

    if settings.sentinels is not None:
        return _master(settings, _options(settings), asynchronous=True)
    return Redis.from_url(settings.redis, **_options(settings))


def connect_results(settings: Settings, broker: Any, *, patient: bool = False) -> Any:
    """Open a client of the results' server; the broker's, if that holds them as well.

    Args:
        settings: Where the servers are.
        broker: A client of the broker's.
        patient: As for `connect`.
    """
    return connect(settings.of_results, patient=patient) if settings.apart else broker


def _master(settings: Settings, options: dict[str, Any], *, asynchronous: bool = False) -> Any:
    assert settings.sentinels is not None
    return master_client(
        settings.sentinels,
        settings.master_name,
        settings.sentinel_kwargs,
        options,
        asynchronous=asynchronous,
    )


def _options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "health_check_interval": 30,
        "socket_connect_timeout": 10,
        "socket_timeout": ANSWER_SECONDS,
    }
    if not settings.redis.startswith("unix://"):
        options["socket_keepalive"] = True
    return options


def is_full(error: redis.ResponseError) -> bool:
    """Tell whether the server refused a command for want of memory (`maxmemory`)."""
    # Redis 6 tells in a text of its own what a script was refused.
    return isinstance(error, redis.OutOfMemoryError) or "-OOM " in str(error)


def options_of(client: Any) -> dict[str, Any]:
    """Give the options of a client's connections, for one that belongs to no pool.

    Args:
        client: A redis-py client, blocking or not.
    """
    options: dict[str, Any] = client.connection_pool.connection_kwargs
    # What a pool does for its connections when a managed server says that it will move.
    return {
        name: value
        for name, value in options.items()
        if not name.startswith(("maint_notifications", "orig_"))
    }


def refuse_unfit(client: Any, name: str = "redis_url") -> None:
    """Refuse a Redis Cluster, whose nodes each hold a part of the keys, and too old a server.

    Args:
        client: A redis-py client.
        name: The setting that names its server.

    Raises:
        ValueError: The server is a node of a cluster, or older than `OLDEST`.
        redis.ConnectionError: The server cannot be reached.
    """
    try:
        info = client.info()
    except redis.ResponseError:  # a user who may not ask
        return
    version = str(info.get("redis_version", ""))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise ValueError(
            f"{name} names a Redis {version}, and Stoker needs {OLDEST[0]}.{OLDEST[1]} or newer"
        )
    if info.get("cluster_enabled"):
        raise ValueError(
            f"{name} names a node of a Redis Cluster, which Stoker does not support: a batch is "
            "taken, stored and acknowledged in single steps over keys that a cluster spreads over "
            "its nodes. Use one server (a primary with replicas is one)"
        )


def refuse_one_for_two(broker: Any, results: Any) -> None:
    """Refuse one database under two names, since what is moved out of it would be lost.

    Args:
        broker: A client of the broker's server.
        results: A client of the results' server.

    Raises:
        ValueError: Both lead to the same database.
        redis.ConnectionError: A server cannot be reached.
    """
    mark = keys.probe(uuid4().hex)
    broker.set(mark, "1", ex=10)
    if results.exists(mark):
        raise ValueError(
            "result_url names the very database that redis_url names, in other words: leave it "
            "out, and results are stored with the rest in one step"
        )
