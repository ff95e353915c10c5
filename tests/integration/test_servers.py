"""Servers that may be shared: Valkey by password and TLS; and a cluster, which is refused."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery.result import AsyncResult

from stoker import Client, State, Success, TextClassification
from stoker.local.ports import free_port
from stoker_config.app import make_app
from stoker_config.settings import Settings
from stoker_workers.exits import CONFIG
from tests.support import valkey_server
from tests.support.until import until
from tests.support.worker import launched, worker


@pytest.fixture(params=["password", "tls"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    run = {"password": valkey_server.running, "tls": valkey_server.running_with_tls}[request.param]
    with run(tmp_path) as url:
        yield url


@pytest.mark.both_transports
def test_jobs_run_on_it_and_are_read_canceled_and_given_back(
    url: str, tmp_path: Path, transport: str
) -> None:
    with Client(url) as client:
        with worker(url, tmp_path, transport=transport) as running:
            handles = client.submit_many([TextClassification(inputs=f"job {n}") for n in range(50)])
            results = dict(client.as_completed(handles, timeout=60))
            assert all(isinstance(each, Success) for each in results.values())
            with make_app(Settings.model_validate({"redis_url": url})) as app:
                stored = AsyncResult(handles[0].id, app=app).get(timeout=10)
            assert stored["output"] == [{"label": "job 0", "score": 1.0}]

            long = client.submit(TextClassification(inputs="sleep=4"))
            until(lambda: long.status().state is State.RUNNING)
            waiting = client.submit_many([TextClassification(inputs=f"{n}") for n in range(3)])
            waiting[0].cancel()
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(60) == 0
            assert valkey_server.PASSWORD not in running.lines()

        assert [each.status().state for each in waiting] == [
            State.CANCELED,
            State.QUEUED,
            State.QUEUED,
        ]


def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    with valkey_server.running_with_tls(tmp_path) as url:
        stranger = url.partition("?")[0]
        with Client(stranger) as client, pytest.raises(redis.ConnectionError):
            client.submit(TextClassification(inputs="x"), allow_unserved=True)


def test_a_cluster_is_refused_by_name(tmp_path: Path) -> None:
    # Its nodes' own port would be 10 000 above the other, where there may be none.
    cluster = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with valkey_server.running(tmp_path, *cluster) as url:
        with Client(url) as client, pytest.raises(ValueError, match="Redis Cluster"):
            client.submit(TextClassification(inputs="x"), allow_unserved=True)
        with launched(url, tmp_path) as running:
            assert running.process.wait(60) == CONFIG
            assert "Redis Cluster" in running.lines()
