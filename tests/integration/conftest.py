"""Servers and processes that all tests of one module share, since each takes seconds to start."""

from collections.abc import Iterator

import pytest

from stoker import Client
from tests.doubles.stock import Producer, producer
from tests.support import redis_server
from tests.support.worker import Worker, worker


@pytest.fixture(scope="module")
def module_redis(transport: str) -> Iterator[str]:
    """The URL of a Redis server of the module's own, whose worker no other test's flush reaches.

    Each transport has one: what a worker of the other left behind is not its to find.
    """
    with redis_server.folder() as folder, redis_server.running(folder) as url:
        yield url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have what speaks of behaviour run on Stoker's transport and on kombu's own."""
    marked = metafunc.definition.get_closest_marker
    if marked("both_transports") and "transport" in metafunc.fixturenames:
        transports = ["stoker"] if marked("own_transport") else ["stoker", "stock"]
        metafunc.parametrize("transport", transports, scope="module")


@pytest.fixture(scope="module")
def transport() -> str:
    """How workers take messages; see `pytest_generate_tests`."""
    return "stoker"


@pytest.fixture(scope="module")
def module_worker(
    module_redis: str, transport: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """A worker that serves `FakeModel` to the default pool for a whole module."""
    folder = tmp_path_factory.mktemp("worker")
    with worker(module_redis, folder, transport=transport) as running:
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
