"""Waiting for results: two connections for any number of waits, and silence while nothing comes."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from stoker import Client, Result, Success
from stoker.ids import new_id
from stoker_config import keys
from stoker_config.serving import Registry
from tests.support import redis_server
from tests.support.serving import serving
from tests.support.until import until

WAITS = 2000
# What this test says to the server to look on, and what a new connection says once.
_OWN = {"info", "config", "client", "hello", "auth", "select"}


class Store:
    """Stores results as Celery's backend does: a key, and a message of the key's name."""

    def __init__(self, url: str) -> None:
        self.server: Any = redis.Redis.from_url(url)

    def finish(self, job_id: str) -> None:
        result = Success(output=job_id, task="fill-mask", model="m@local")
        stored = json.dumps({"status": "SUCCESS", "result": result.to_wire()})
        with self.server.pipeline(transaction=True) as pipe:
            pipe.set(keys.result(job_id), stored)
            pipe.publish(keys.result(job_id), stored)
            pipe.execute()

    def said(self) -> dict[str, int]:
        stats = self.server.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
        return {name: n for name, n in calls.items() if name.partition("|")[0] not in _OWN}

    def at_rest(self) -> dict[str, int]:
        """Give what was said, once nothing more has been for a moment."""
        before, now = {"": 0}, self.said()
        deadline = time.monotonic() + 60
        while now != before:
            assert time.monotonic() < deadline, f"it does not end: {before}, {now}"
            time.sleep(0.5)
            before, now = now, self.said()
        return now

    def connections(self) -> int:
        return len(self.server.client_list()) - 1

    def subscribed(self) -> int:
        return sum(int(each["sub"]) for each in self.server.client_list())

    def listeners(self) -> set[str]:
        """Name the connections that have subscribed."""
        return {each["id"] for each in self.server.client_list() if int(each["sub"])}


@contextmanager
def storing(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.server.close()


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    with storing(redis_url) as store:
        yield store


def test_two_thousand_waits_share_two_connections_and_few_commands(
    client: Client, store: Store
) -> None:
    ids = [new_id() for _ in range(WAITS)]
    results: dict[str, Result | Exception] = {}

    def wait(job_id: str) -> None:
        try:
            results[job_id] = client.wait(job_id, timeout=120)
        except Exception as error:  # noqa: BLE001 - looked at below
            results[job_id] = error

    # Else those who begin to wait look again and again for one, beside the listener.
    Registry(store.server).announce(serving(results_apart=False))
    before = store.connections()
    store.server.config_resetstat()
    size = threading.stack_size(256 * 1024)
    try:
        threads = [threading.Thread(target=wait, args=(each,)) for each in ids]
        for thread in threads:
            thread.start()
    finally:
        threading.stack_size(size)
    until(lambda: store.subscribed() == WAITS, 60)
    until(lambda: store.said().get("mget", 0) > 0)
    waiting = store.at_rest()

    assert store.connections() - before <= 2
    assert sum(waiting.values()) <= 2 * WAITS
    store.server.config_resetstat()

    for each in ids:
        store.finish(each)
    for thread in threads:
        thread.join(60)

    assert len(results) == WAITS
    outputs = {name: getattr(result, "output", result) for name, result in results.items()}
    assert outputs == {each: each for each in ids}
    until(lambda: store.subscribed() == 0)
    said = store.said()
    own = {name: said.get(name, 0) for name in ("subscribe", "mget", "get", "unsubscribe", "ping")}
    assert sum(own.values()) + sum(waiting.values()) <= 3 * WAITS


def test_a_result_that_is_there_is_given_at_once(client: Client, store: Store) -> None:
    job_id = new_id()
    store.finish(job_id)

    for timeout in (None, 5, 0):
        assert isinstance(client.wait(job_id, timeout=timeout), Success)


def test_time_runs_out(client: Client, store: Store) -> None:
    store.server.ping()
    for timeout in (0.1, 0):
        with pytest.raises(TimeoutError, match="1 jobs were not finished"):
            client.wait(new_id(), timeout=timeout)

    until(lambda: store.subscribed() == 0)


def test_no_result_is_missed_that_comes_while_a_wait_begins(client: Client, store: Store) -> None:
    ids = [new_id() for _ in range(300)]
    with ThreadPoolExecutor(20) as threads:
        stored = threads.map(store.finish, ids)
        found = list(threads.map(lambda each: client.wait(each, timeout=30), ids))
        list(stored)

    assert [result.output for result in found if isinstance(result, Success)] == ids


def test_many_waits_for_one_job_end_together(client: Client, store: Store) -> None:
    job_id = new_id()
    with ThreadPoolExecutor(20) as threads:
        waits = [threads.submit(client.wait, job_id, 30) for _ in range(20)]
        until(lambda: store.subscribed() == 1)
        store.finish(job_id)
        assert all(isinstance(each.result(), Success) for each in waits)


def test_waits_outlive_a_server_that_is_started_anew(tmp_path: Path) -> None:
    ids = [new_id() for _ in range(200)]
    with redis_server.folder() as folder:
        with redis_server.running(folder) as url:
            client = Client(url)
            found = ThreadPoolExecutor(1).submit(
                lambda: dict(client.as_completed([client.handle(each) for each in ids], 60))
            )
            with storing(url) as store:
                until(lambda: store.subscribed() == 200)
        with redis_server.running(folder) as url, storing(url) as store:
            # One is there before the client is back, and nobody says so a second time.
            store.finish(ids[0])
            until(lambda: store.subscribed() == 199)
            for each in ids[1:]:
                store.finish(each)
            assert len(found.result(60)) == 200
            client.close()


def test_who_waits_without_a_server_learns_it(tmp_path: Path) -> None:
    with Client(f"unix://{tmp_path}/none.sock") as client, pytest.raises(redis.ConnectionError):
        client.wait(new_id(), timeout=30)


def test_a_closed_client_leaves_nobody_waiting(client: Client, store: Store) -> None:
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(client.wait, new_id(), 60)
        until(lambda: store.subscribed() == 1)
        client.close()
        with pytest.raises(RuntimeError, match="the client was closed"):
            wait.result(10)

    job_id = new_id()
    store.finish(job_id)
    assert isinstance(client.wait(job_id, timeout=10), Success)
