"""The serving registry on a real server: who lives, who has gone, which pools are known."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from stoker_config import keys
from stoker_config.serving import KNOWN_SECONDS, Registry, Serving


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def serving(worker: str, *pools: str) -> Serving:
    return Serving(
        worker=worker,
        pools=pools or ("default",),
        tasks=("fill-mask", "text-generation"),
        defaults={"fill-mask": "org/name"},
        models=("org/name",),
        warm=(),
        device="cpu",
    )


def test_what_is_announced_is_listed(server: Any) -> None:
    registry = Registry(server)
    b, a = serving("b", "x", "y"), serving("a")

    registry.announce(b)
    registry.announce(a)

    assert registry.workers() == [a, b]
    assert registry.known_pools() == ["default", "x", "y"]


def test_an_announcement_replaces_the_one_before(server: Any) -> None:
    registry = Registry(server)

    registry.announce(serving("a", "x"))
    registry.announce(serving("a", "y"))

    assert registry.workers() == [serving("a", "y")]
    assert registry.known_pools() == ["x", "y"]


def test_one_that_withdraws_is_gone_and_its_pool_is_known(server: Any) -> None:
    registry = Registry(server)
    registry.announce(serving("a"))

    registry.withdraw("a")
    registry.withdraw("never there")

    assert registry.workers() == []
    assert registry.known_pools() == ["default"]


def test_one_that_is_silent_is_gone_and_forgotten(server: Any) -> None:
    registry = Registry(server)
    registry.announce(serving("silent"))
    registry.announce(serving("alive"))
    server.zadd(keys.WORKERS, {"silent": time.time() - 1})

    assert registry.workers() == [serving("alive")]
    assert server.hkeys(keys.SERVING) == [b"alive"]
    assert server.zrange(keys.WORKERS, 0, -1) == [b"alive"]


def test_one_that_comes_back_is_listed_again(server: Any) -> None:
    registry = Registry(server)
    registry.announce(serving("a"))
    server.zadd(keys.WORKERS, {"a": time.time() - 1})
    assert registry.workers() == []

    registry.announce(serving("a"))

    assert registry.workers() == [serving("a")]


def test_a_pool_that_nobody_served_for_a_day_is_unknown(server: Any) -> None:
    registry = Registry(server)
    registry.announce(serving("a", "old", "new"))
    server.zadd(keys.POOLS, {"old": time.time() - KNOWN_SECONDS - 1})

    assert registry.known_pools() == ["new"]
