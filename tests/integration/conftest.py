"""Servers and processes that all tests of one module share, since each takes seconds to start."""

from collections.abc import Iterator

import pytest

from stoker import Client
from tests.doubles.stock import Producer, producer
from tests.support import redis_server
from tests.support.worker import Worker, worker


@pytest.fixture(scope="module")
def module_redis(transport: str, fast_lane: bool) -> Iterator[str]:
    """The URL of a Redis server of the module's own, whose worker no other test's flush reaches.

    Each transport has one, and each lane: what another's worker left behind is not its to find.
    """
    with redis_server.folder() as folder, redis_server.running(folder) as url:
        yield url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have what speaks of behaviour run on both transports, and some of it in both lanes.

    Whatever needs the fixtures gets them from here, also where there is one way alone: pytest keeps
    a module's server and worker for the next test if that one names its transport elsewhere.
    """
    marked, names = metafunc.definition.get_closest_marker, metafunc.fixturenames
    both, own = marked("both_transports"), marked("own_transport")
    if own and not both:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: own_transport takes a test out of those that are "
            "marked both_transports, and does nothing without that mark"
        )
    if "transport" not in names:
        return
    transports = ["stoker", "stock"] if both and not own else ["stoker"]
    ways = [(each, True) for each in transports]
    if marked("both_lanes") and "fast_lane" in names:
        ways.append(("stoker", False))
    ids = [each if lane else "traced" for each, lane in ways]
    if "fast_lane" in names:
        metafunc.parametrize(("transport", "fast_lane"), ways, ids=ids, scope="module")
    else:
        metafunc.parametrize("transport", transports, scope="module")


@pytest.fixture(scope="module")
def transport() -> str:
    """How workers take messages; see `pytest_generate_tests`."""
    return "stoker"


@pytest.fixture(scope="module")
def fast_lane() -> bool:
    """Whether workers store plain jobs themselves; see `pytest_generate_tests`."""
    return True


@pytest.fixture(scope="module")
def module_worker(
    module_redis: str, transport: str, fast_lane: bool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """A worker that serves `FakeModel` to the default pool for a whole module."""
    folder = tmp_path_factory.mktemp("worker")
    with worker(module_redis, folder, transport=transport, fast_lane=fast_lane) as running:
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
