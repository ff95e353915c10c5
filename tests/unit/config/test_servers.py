"""Connections: one's own of a client's options, and one to a server that says nothing."""

import asyncio
import socket
from typing import Any

import pytest
import redis
import redis.asyncio.retry
import redis.retry
from redis.backoff import NoBackoff

from stoker_config.servers import connect, connect_async, options_of, refuse_unfit
from stoker_config.settings import Settings


def test_a_lone_connection_wants_none_of_what_a_pool_does() -> None:
    client = connect(Settings.model_validate({"redis_url": "redis://:word@h:1/2"}))

    options = options_of(client)

    assert (options["host"], options["db"], options["password"]) == ("h", 2, "word")
    # redis-py's own parser, which is there without hiredis, takes no maintenance notifications.
    made = redis.Connection(**options, parser_class=redis.connection._RESP2Parser)
    assert made.host == "h"


def test_a_server_that_says_nothing_counts_as_lost_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker_config.servers.ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings = Settings.model_validate({"redis_url": f"redis://127.0.0.1:{port}"})
        with pytest.raises(redis.TimeoutError):
            redis.Connection(**once(connect(settings))).connect()

        async def ask() -> None:
            # redis-py has a time of its own, or none, by its release.
            async with asyncio.timeout(3):
                await redis.asyncio.Connection(**once(connect_async(settings))).connect()

        with pytest.raises(redis.TimeoutError):
            asyncio.run(ask())


def once(client: Any) -> dict[str, Any]:
    """Give the options of a client's connections that do not try again."""
    retry = redis.retry.Retry if isinstance(client, redis.Redis) else redis.asyncio.retry.Retry
    return {**options_of(client), "retry": retry(NoBackoff(), 0)}


class Old:
    """What an old server tells of itself; none runs here."""

    def info(self) -> dict[str, Any]:
        return {"redis_version": "6.0.16"}


def test_a_server_that_is_too_old_is_refused_by_its_version() -> None:
    with pytest.raises(ValueError, match=r"names a Redis 6\.0\.16, and Stoker needs 6\.2 or newer"):
        refuse_unfit(Old())
