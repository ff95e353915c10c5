"""Servers and processes that all tests of one module share, since each takes seconds to start."""

from collections.abc import Iterator

import pytest

from stoker import Client
from tests.doubles.stock import Producer, producer
from tests.support import redis_server
from tests.support.worker import Worker, worker


@pytest.fixture(scope="module")
def module_redis() -> Iterator[str]:
    """The URL of a Redis server of the module's own, whose worker no other test's flush reaches."""
    with redis_server.folder() as folder, redis_server.running(folder) as url:
        yield url


@pytest.fixture(scope="module")
def module_worker(module_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker that serves `FakeModel` to the default pool for a whole module."""
    with worker(module_redis, tmp_path_factory.mktemp("worker")) as running:
        yield running


@pytest.fixture(scope="module")
def module_client(module_redis: str) -> Iterator[Client]:
    """A Stoker producer on the module's server."""
    with Client(module_redis) as client:
        yield client


@pytest.fixture(scope="module")
def stock(module_redis: str) -> Iterator[Producer]:
    """A stock Celery producer on the module's server."""
    with producer(celery_url(module_redis)) as running:
        yield running


def celery_url(redis_url: str) -> str:
    """Spell a server's URL as Celery does."""
    return redis_url.replace("unix://", "redis+socket://")
