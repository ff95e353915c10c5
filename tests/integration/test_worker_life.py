"""A worker from its start to its end: always reachable, well behaved when told to stop."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from stoker import Client, State, Success, TextClassification
from stoker_config import keys
from stoker_config.app import make_app
from stoker_config.settings import Settings
from stoker_tasks.job import Priority
from tests.support import redis_server
from tests.support.until import until
from tests.support.worker import ROOT, Worker, environment, worker

pytestmark = pytest.mark.both_transports


def text(words: str, priority: Priority = "normal") -> TextClassification:
    return TextClassification(inputs=words, priority=priority)


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """An operator's Celery app: what `celery -A stoker_config.app` uses."""
    with make_app(Settings.model_validate({"redis_url": redis_url})) as app:
        yield app


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_a_forward_pass_blocks_neither_ping_nor_inspect_nor_revoke(
    client: Client, app: Celery, redis_url: str, tmp_path: Path, transport: str
) -> None:
    with worker(redis_url, tmp_path, transport=transport) as running:
        long = client.submit(text("sleep=8"))
        until(lambda: long.status().state is State.RUNNING)
        waiting = client.submit(text("kill"))
        ask = app.control.inspect([running.name], timeout=10, limit=1)

        assert app.control.ping([running.name], timeout=10, limit=1) == [
            {running.name: {"ok": "pong"}}
        ]
        until(lambda: ask.active()[running.name])
        [active] = ask.active()[running.name]
        assert (active["id"], active["args"]) == (long.id, "(…)")
        until(lambda: [each["id"] for each in ask.reserved()[running.name]] == [waiting.id])
        app.control.revoke(waiting.id, reply=True, destination=[running.name], timeout=10, limit=1)
        assert waiting.status().state is State.CANCELED
        # All this within the pass, which went on undisturbed.
        assert long.status().state is State.RUNNING
        assert isinstance(long.wait(timeout=30), Success)
        # The revoked one would have ended the process.
        assert isinstance(client.submit(text("after")).wait(timeout=30), Success)
        assert running.process.poll() is None


@pytest.mark.both_lanes
def test_told_to_stop_it_finishes_the_batch_and_gives_the_rest_back(
    client: Client, server: Any, redis_url: str, tmp_path: Path, transport: str, fast_lane: bool
) -> None:
    how: dict[str, Any] = {"transport": transport, "fast_lane": fast_lane}
    with worker(redis_url, tmp_path, **how, batch_rows=4) as first:
        handles = client.submit_many([text("sleep=1.5")])
        until(lambda: handles[0].status().state is State.RUNNING)
        priorities: list[Priority] = ["low", "normal", "high"]
        handles += client.submit_many([text(f"job {n}", priorities[n % 3]) for n in range(60)])
        handles += client.submit_many([text(f"later {n}") for n in range(5)], countdown=600)
        # Not its 66 jobs: on a slow machine the first may have ended before it has taken the last.
        until(lambda: not waiting_lists(server))

        assert first.terminate() == 0

    done = [handle for handle in handles if handle.status().state is State.SUCCEEDED]
    queued = [message for key in waiting_lists(server) for message in server.lrange(key, 0, -1)]
    waiting = {json.loads(message)["headers"]["id"] for message in queued}
    assert handles[0] in done
    assert len(waiting) == len(queued)
    assert waiting | {handle.id for handle in done} == {handle.id for handle in handles}
    assert len(waiting) + len(done) == 66
    assert not server.exists("unacked", "unacked_index", keys.RUNNING)
    assert all(client.status(each).state is State.QUEUED for each in waiting)

    with worker(redis_url, tmp_path, name="w2", **how):
        results = dict(client.as_completed(handles[:61], timeout=30))

        assert all(isinstance(result, Success) for result in results.values())
        until(lambda: server.hlen("unacked") == 5)
        assert handles[0].status().state is State.SUCCEEDED


def waiting_lists(server: Any) -> list[bytes]:
    return [key for key in server.scan_iter("stoker*") if server.type(key) == b"list"]


def test_two_workers_of_two_pools_get_their_own_jobs(
    client: Client, redis_url: str, tmp_path: Path, transport: str
) -> None:
    here = (redis_url, tmp_path)
    with (
        worker(*here, name="wa", queues="stoker.a", pool="a", transport=transport) as a,
        worker(
            *here, name="wb", queues="stoker.b", pool="b", models="some", transport=transport
        ) as b,
    ):
        handles = {
            pool: client.submit_many([text(f"{pool} {n}") for n in range(30)], pool=pool)
            for pool in ("a", "b")
        }
        for some in handles.values():
            results = dict(client.as_completed(some, timeout=20))
            assert all(isinstance(result, Success) for result in results.values())

        app = make_app(Settings.model_validate({"redis_url": redis_url}))
        stats = app.control.inspect([a.name, b.name], timeout=10, limit=2).stats()
        assert [stats[each.name]["total"] for each in (a, b)] == [
            {"stoker.text_classification": 30}
        ] * 2
        assert {each.pools for each in client.workers()} == {("a",), ("b",)}


# On its command line Celery takes `prefork` for its default, and then the app's setting counts.
@pytest.mark.parametrize("setting", ["prefork", "celery.concurrency.base:BasePool"])
def test_a_pool_that_forks_or_is_green_is_refused(redis_url: str, setting: str) -> None:
    code = (
        "from tests.doubles.worker_app import app\n"
        f"app.conf.worker_pool = '{setting}'\n"
        "app.Worker().start()\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(redis_url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode != 0
    assert "start it with --pool threads (the app's default) or solo, not prefork" in ended.stderr


def test_the_solo_pool_serves_too(
    client: Client, redis_url: str, tmp_path: Path, transport: str
) -> None:
    log = tmp_path / "solo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "tests.doubles.worker_app", "worker"),
                *("-Q", "stoker", "--pool", "solo", "-n", "solo@test"),
            ],
            cwd=ROOT,
            env=environment(redis_url, transport=transport),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Worker(process, log, "solo@test")
    try:
        handle = client.submit(text("a b"), allow_unserved=True)
        assert isinstance(handle.wait(timeout=60), Success), running.lines()
        assert running.terminate() == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.own_transport("nothing is lost by a kill")
def test_a_restarted_server_costs_no_job(tmp_path: Path) -> None:
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with redis_server.folder() as folder, ExitStack() as stack:
        with redis_server.running(folder, *durable) as url:
            client = stack.enter_context(Client(url))
            running = stack.enter_context(worker(url, tmp_path))
            handles = client.submit_many([text("sleep=2")])
            until(lambda: handles[0].status().state is State.RUNNING)
            handles += client.submit_many([text(f"job {n}") for n in range(100)])
            handles += client.submit_many([text(f"later {n}") for n in range(5)], countdown=3)

        with redis_server.running(folder, *durable), redis.Redis.from_url(url) as server:
            results = dict(client.as_completed(handles, timeout=60))

            assert all(isinstance(result, Success) for result in results.values())
            until(lambda: not server.exists("unacked", keys.JOBS, keys.RUNNING))
            assert running.terminate() == 0
