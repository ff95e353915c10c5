"""Redis Sentinel: the master dies under load, its replica takes its place, and jobs go on."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from stoker import AsyncClient, Client, State, Success, TextClassification
from stoker_config.servers import connect
from tests.support import sentinel
from tests.support.sentinel import Watched
from tests.support.until import until
from tests.support.worker import Worker, worker

pytestmark = pytest.mark.both_transports


def text(words: str) -> TextClassification:
    return TextClassification(inputs=words)


@pytest.fixture(scope="module")
def watched(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    # Servers of its own for each transport: a failover leaves them behind in another order.
    with sentinel.running(tmp_path_factory.mktemp("sentinel")) as servers:
        yield servers


@pytest.fixture(scope="module")
def running(
    transport: str, watched: Watched, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp(transport)
    options = {"transport": transport, "lease": 5, **watched.options}
    with worker(watched.url, folder, **options) as running:
        yield running


@pytest.fixture(scope="module")
def client(watched: Watched) -> Iterator[Client]:
    with Client(settings=watched.settings) as client:
        yield client


def test_every_way_to_submit_finds_the_master(
    client: Client, watched: Watched, running: Worker
) -> None:
    handles = [client.submit(text("one")), *client.submit_many([text(f"{n}") for n in range(50)])]
    results = dict(client.as_completed(handles, timeout=60))
    assert all(isinstance(each, Success) for each in results.values())
    assert [each.worker for each in client.workers()] == [running.name]

    async def submit() -> Any:
        async with AsyncClient(settings=watched.settings) as client:
            return await (await client.submit(text("two"))).wait(timeout=30)

    assert isinstance(asyncio.run(submit()), Success)

    conf = {
        name: {"priority_steps": [0, 3, 6, 9], **watched.options}
        for name in ("broker_transport_options", "result_backend_transport_options")
    }
    # Celery's own connections try an absent sentinel for seconds.
    url = ";".join(reversed(watched.url.split(";")))
    app = Celery(broker=url, backend=url, set_as_current=False)
    app.conf.update(conf)
    with app, Client(app=app) as its:
        assert isinstance(its.submit(text("three")).wait(timeout=30), Success)
        sent = app.send_task("stoker.text_classification", args=["four"], queue="stoker")
        assert sent.get(timeout=30)["output"][0]["label"] == "four"
        stats = app.control.inspect([running.name], timeout=10, limit=1).stats()
        app.backend.result_consumer.stop()
    assert stats[running.name]["broker"]["transport_options"]["master_name"] == sentinel.MASTER
    assert sentinel.PASSWORD not in repr(stats)
    assert sentinel.PASSWORD not in running.lines()


@pytest.mark.own_transport("nothing is lost by a kill")
def test_jobs_go_on_when_the_master_dies(client: Client, watched: Watched, running: Worker) -> None:
    long = client.submit(text("sleep=3"))
    until(lambda: long.status().state is State.RUNNING)
    handles = [long, *client.submit_many([text(f"job {n}") for n in range(100)])]
    # What the replica has not heard of when its master dies is lost, and that is nobody's doing.
    with connect(watched.settings) as server:
        server.wait(1, 10_000)

    watched.kill_master()

    results = dict(client.as_completed(handles, timeout=90))
    assert len(results) == 101
    assert all(isinstance(each, Success) for each in results.values())
    assert isinstance(client.submit(text("after")).wait(timeout=30), Success)
    until(lambda: [each.worker for each in client.workers()] == [running.name])
    assert running.process.poll() is None
