"""What all tests share: no network, one torch thread, and real servers."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports transformers: the tests must not reach for a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# An operator's own credentials and profiles are none of a test's business.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ.update(AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE=os.devnull)
os.environ.update(AWS_SHARED_CREDENTIALS_FILE=os.devnull)
# Where the models of the demo are, or will be: they are large, and fetched once.
CACHE = os.environ.get("STOKER_CACHE_DIR")
for name in [name for name in os.environ if name.startswith("STOKER_")]:
    del os.environ[name]

from stoker import Client  # noqa: E402 - after the environment is clean
from tests.support import redis_server  # noqa: E402
from tests.support import s3 as s3_server  # noqa: E402
from tests.support.worker import Worker, worker  # noqa: E402

# A busy machine makes no example wrong. Where CI is set, Hypothesis itself sees to that.
if "CI" not in os.environ:
    slow = [HealthCheck.too_slow]
    settings.register_profile("patient", deadline=None, suppress_health_check=slow)
    settings.load_profile("patient")


@pytest.fixture(scope="session")
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for a unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="stk-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cache_dir(pytestconfig: pytest.Config) -> Path:
    """The cache of fetched models: the caller's, or the one that `make demo` fills."""
    return Path(CACHE).resolve() if CACHE else pytestconfig.rootpath / ".cache" / "stoker"


@pytest.fixture(scope="session")
def redis_process(short_path: Path) -> Iterator[str]:
    """The URL of a Redis server that all tests of a session share."""
    with redis_server.running(short_path) as url:
        yield url


@pytest.fixture(scope="session")
def s3() -> Iterator[s3_server.S3]:
    """An S3 server that all tests of a session share, with the credentials to use it."""
    os.environ.update(s3_server.CREDENTIALS)
    with s3_server.running() as server:
        yield server


@pytest.fixture
def redis_url(redis_process: str) -> str:
    """The URL of an empty Redis server."""
    import redis

    with redis.Redis.from_url(redis_process) as client:
        client.flushall()
    return redis_process


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    """A producer on the test's server."""
    with Client(redis_url) as client:
        yield client


@pytest.fixture
def fake_worker(redis_url: str, tmp_path: Path) -> Iterator[Worker]:
    """A running worker that serves `FakeModel` to the default pool."""
    with worker(redis_url, tmp_path) as running:
        yield running
