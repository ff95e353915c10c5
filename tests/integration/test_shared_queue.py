"""A worker on Stoker's transport and one on kombu's own: on one server, and on one queue of it."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from celery import Celery

from stoker import Client, State, Success, TextClassification
from stoker_config import keys
from stoker_config.app import make_app
from stoker_config.settings import Settings
from tests.support.until import until
from tests.support.worker import START_SECONDS, Worker, launched

# Both read the default queue, and each a queue of its own.
QUEUES = {"stoker": "stoker.own", "stock": "stoker.kombus"}
VISIBILITY_TIMEOUT = 600
PREFETCH, ETA_LIMIT = 4, 3


@dataclass(frozen=True)
class Shared:
    """A server with both kinds of workers.

    Attributes:
        client: A producer.
        server: The server.
        app: An operator's Celery app.
        workers: The workers, by their transports.
    """

    client: Client
    server: Any
    app: Celery
    workers: dict[str, Worker]

    def stats(self, transport: str, timeout: float = 20.0) -> Any:
        """Ask a worker for what `inspect stats` shows."""
        name = self.workers[transport].name
        ask = self.app.control.inspect([name], timeout=timeout, limit=1)
        return (ask.stats() or {}).get(name, {})

    def started(self, transport: str) -> int:
        """Count the deliveries that a worker has started."""
        return int(sum(self.stats(transport)["total"].values()))

    def is_empty(self) -> bool:
        """Tell whether nothing is held, and no job is known that has not ended."""
        return not self.server.exists(keys.HELD, keys.HELD_MESSAGES, keys.JOBS, keys.RUNNING)


@pytest.fixture(scope="module")
def shared(module_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("workers")
    options: dict[str, Any] = {
        "lease": 3,
        "visibility_timeout": VISIBILITY_TIMEOUT,
        "prefetch": PREFETCH,
        "eta_limit": ETA_LIMIT,
    }

    def run(transport: str) -> Any:
        queues = f"stoker,{QUEUES[transport]}"
        return launched(
            module_redis, folder, name=transport, transport=transport, queues=queues, **options
        )

    settings = Settings.model_validate({"redis_url": module_redis})
    with (
        run("stock") as stock,
        run("stoker") as own,
        make_app(settings) as app,
        Client(module_redis) as client,
        redis.Redis.from_url(module_redis) as server,
    ):
        both = Shared(client, server, app, {"stock": stock, "stoker": own})
        # What answers takes jobs.
        until(lambda: all(both.stats(each, 0.5) for each in both.workers), START_SECONDS)
        yield both


def text(words: str) -> TextClassification:
    return TextClassification(inputs=words)


def test_each_job_of_a_queue_that_both_serve_runs_once_on_one_of_them(shared: Shared) -> None:
    before = {each: shared.started(each) for each in QUEUES}
    # More than one of them may hold, and for long enough that the other takes some.
    slow = shared.client.submit_many([text(f"sleep=0.3 {at}") for at in range(2 * PREFETCH)])
    handles = slow + shared.client.submit_many([text(f"job {at}") for at in range(300)])

    results = dict(shared.client.as_completed(handles, timeout=60))

    assert len(results) == len(handles)
    assert all(isinstance(result, Success) for result in results.values())
    assert {result.times.attempts for result in results.values()} == {1}
    until(shared.is_empty)
    ran = {each: shared.started(each) - before[each] for each in QUEUES}
    assert sum(ran.values()) == len(handles)
    assert all(ran.values()), ran
    assert not shared.server.exists(*(keys.deaths(each.id) for each in handles))


def test_jobs_that_wait_for_their_time_fill_no_worker_without_bound(shared: Shared) -> None:
    most = dict.fromkeys(QUEUES.values(), 0)

    def have_ended() -> bool:
        held = Counter(json.loads(each)[2] for each in shared.server.hvals(keys.HELD_MESSAGES))
        for queue in most:
            most[queue] = max(most[queue], held[queue])
        return shared.is_empty()

    handles = [
        handle
        for queue in QUEUES.values()
        for handle in shared.client.submit_many(
            [text(f"later {at}") for at in range(20)],
            pool=queue.removeprefix("stoker."),
            countdown=3,
        )
    ]
    until(have_ended)

    # Of each twenty; all wait for the same moment.
    assert most == dict.fromkeys(QUEUES.values(), PREFETCH + ETA_LIMIT)
    results = dict(shared.client.as_completed(handles, timeout=20))
    assert all(isinstance(result, Success) for result in results.values())
    assert {result.times.attempts for result in results.values()} == {1}
    # Later jobs find as much room as those before.
    assert [shared.stats(each)["prefetch_count"] for each in QUEUES] == [PREFETCH, PREFETCH]


def test_what_a_stock_worker_holds_goes_back_after_its_timeout_and_has_one_result(
    shared: Shared,
) -> None:
    server, before = shared.server, shared.started("stock")
    pool = QUEUES["stock"].removeprefix("stoker.")
    lapsed = shared.client.submit(text("steps=3"), pool=pool)
    until(lambda: lapsed.status().state is State.RUNNING)
    kept = shared.client.submit(text("kept"), pool=pool)
    until(lambda: server.hlen(keys.HELD_MESSAGES) == 2)
    tags = {
        json.loads(message)[0]["headers"]["id"]: tag
        for tag, message in server.hgetall(keys.HELD_MESSAGES).items()
    }
    # As if they had been held for that long.
    times = {kept: VISIBILITY_TIMEOUT - 100, lapsed: VISIBILITY_TIMEOUT + 100}
    now = server.time()[0]
    server.zadd(keys.HELD, {tags[each.id]: now - ago for each, ago in times.items()})

    first = lapsed.wait(timeout=60)
    stored = server.get(keys.result(lapsed.id))
    until(lambda: shared.started("stock") == before + 3)
    until(shared.is_empty)

    assert isinstance(first, Success)
    assert isinstance(kept.wait(timeout=60), Success)
    assert not server.exists(keys.deaths(kept.id), keys.beside(kept.id))
    # Nobody can know that it ran on.
    assert server.get(keys.deaths(lapsed.id)) == b"1"
    assert server.get(keys.result(lapsed.id)) == stored
    assert "1 jobs of a silent worker went back to the queue" in shared.workers["stoker"].lines()
