"""Workers and couriers killed between any two steps: one result, one event, nothing lost.

All workers die at once, each of its own job in a pool of its own; one other does what is left.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from pydantic import SecretStr

from stoker import Client, TextClassification, Webhook
from stoker.webhooks import verify
from stoker_config import keys
from stoker_config.app import make_app
from stoker_config.settings import Settings
from stoker_tasks.event import event_id
from stoker_tasks.signature import new_secret
from stoker_tasks.wire import queue_name
from tests.doubles.faults import COURIER, WORKER
from tests.doubles.stock import CLASSIFY
from tests.support.courier import courier
from tests.support.receiver import Receiver, receiver
from tests.support.until import until
from tests.support.worker import ROOT, environment, worker

SECRET = new_secret()
# Each point with its transport, and whether the job's result is ignored.
CASES: Final = {
    "before_forward": ("stoker", False),
    "before_store": ("stoker", False),
    "after_store": ("stoker", False),
    "after_tell": ("stoker", True),
    "before_acknowledge": ("stoker", True),
    "after_store-stock": ("stock", False),
}
# Those between the steps that are one where results are on the broker's server.
APART: Final = {
    "before_tell": ("stoker", False),
    "before_tell-stock": ("stock", False),
}
ALL: Final = {**CASES, **APART}
# Where the job's end is stored, or told, when its worker is dead.
ENDED: Final = {"after_store", "after_store-stock", "after_tell", "before_acknowledge"}
EVENTS: Any = ("job.started", "job.completed")


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def here() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def events_of(case: str) -> Any:
    # The start is told by the same method as the end of a job whose result is ignored.
    return EVENTS[1:] if ALL[case][1] else EVENTS


def pool_of(case: str) -> str:
    return case.replace("_", "-")


def submit(client: Client, redis_url: str, case: str, url: str) -> str:
    job = TextClassification(inputs=case, webhook=Webhook(url=url, events=events_of(case)))
    if not ALL[case][1]:
        return client.submit(job, pool=pool_of(case)).id
    app = make_app(Settings(redis_url=SecretStr(redis_url)))
    kwargs = {"inputs": case, "webhook": {"url": url, "events": events_of(case)}}
    with app:
        sent = app.send_task(
            CLASSIFY, kwargs=kwargs, queue=queue_name(pool_of(case)), ignore_result=True
        )
        return str(sent.id)


@pytest.mark.parametrize("apart", [False, True], ids=["one server", "results apart"])
def test_workers_killed_between_any_two_steps_store_and_tell_once(
    redis_url: str, server: Any, here: Receiver, tmp_path: Path, apart: bool
) -> None:
    cases = ALL if apart else CASES
    assert {case.partition("-")[0] for case in ALL} == set(WORKER)
    results_url = f"{redis_url}?db=1" if apart else redis_url
    here_too = {"result_url": results_url} if apart else {}
    settings = Settings.model_validate({"redis_url": redis_url, **here_too})
    with ExitStack() as stack:
        client = stack.enter_context(Client(settings=settings))
        results = stack.enter_context(redis.Redis.from_url(results_url, decode_responses=True))
        dying = {
            case: stack.enter_context(
                worker(
                    redis_url,
                    tmp_path,
                    app=f"tests.doubles.faults:{case.partition('-')[0]}",
                    queues=queue_name(pool_of(case)),
                    name=case,
                    transport=transport,
                    lease=60,  # so that none of them gives back what another one held
                    **here_too,
                )
            )
            for case, (transport, _) in cases.items()
        }
        jobs = {case: submit(client, redis_url, case, here.url) for case in cases}
        for case, each in dying.items():
            assert each.process.wait(60) == -signal.SIGKILL, case
        _left_is_done(cases, jobs, server, results, here, redis_url, tmp_path, here_too)


def _left_is_done(
    cases: Mapping[str, tuple[str, bool]],
    jobs: Mapping[str, str],
    server: Any,
    results: Any,
    here: Receiver,
    redis_url: str,
    folder: Path,
    settings: Mapping[str, Any],
) -> None:
    """See what the dead have left, have one other worker do the rest, and see what came of it."""
    stored = {case: results.get(keys.result(job)) for case, job in jobs.items()}
    told = {case: completed(server, job) for case, job in jobs.items()}
    assert {case for case, text in stored.items() if text} == {
        case for case in (ENDED | set(APART)) & set(cases) if not cases[case][1]
    }
    assert {case for case, event in told.items() if event} == ENDED
    assert server.hlen("unacked") == len(cases) - 1
    # A stock worker's delivery lapses after an hour.
    index = server.zrange("unacked_index", 0, -1)
    server.zadd("unacked_index", dict.fromkeys(index, 0))

    queues = ",".join(queue_name(pool_of(case)) for case in cases)
    with (
        worker(redis_url, folder, queues=queues, name="heir", lease=2, **settings),
        courier(redis_url, folder, webhook_secret=SECRET),
    ):
        lists = [keys.queue(queue, 3, keys.PRIORITY_STEPS) for queue in queues.split(",")]
        until(lambda: not server.exists(keys.HELD_MESSAGES, keys.RUNNING, keys.JOBS, *lists), 40)
        until(lambda: not server.zcard(keys.PENDING))

    for case, job in jobs.items():
        text = results.get(keys.result(job))
        assert not settings or not server.exists(keys.result(job))
        if ALL[case][1]:
            assert text is None
        else:
            meta = json.loads(text)
            assert meta["status"] == "SUCCESS"
            # What is told is what stands, also where another delivery had stored it.
            [event] = here.of(event_id(job, "job.completed"))
            told_of = json.loads(event.body)["data"]["result"]
            assert told_of["timing"]["batch"] == meta["result"]["timing"]["batch"]
        # What was stored and told before the kill is what stands.
        assert stored[case] in (None, text)
        assert told[case] in ({}, {**completed(server, job), **told[case]})
    events = {event_id(job, type) for case, job in jobs.items() for type in events_of(case)}
    assert sorted(posted.id for posted in here.got) == sorted(events)
    for posted in here.got:
        body = verify(posted.body, posted.headers, SECRET)
        assert body["data"]["id"] in jobs.values()
    assert server.hlen(keys.JOBS) == server.hlen(keys.WISHES) == 0


def completed(server: Any, job: str) -> dict[str, str]:
    """Read what was told of a job's end, but for how far its delivery is."""
    found = server.hgetall(keys.event(event_id(job, "job.completed")))
    return {name: found[name] for name in ("job", "type", "url", "body", "created") if found}


@pytest.mark.parametrize("point", COURIER)
def test_a_courier_killed_between_any_two_steps_loses_nothing(
    server: Any, redis_url: str, here: Receiver, tmp_path: Path, point: str
) -> None:
    app = make_app(Settings(redis_url=SecretStr(redis_url)))
    with app, worker(redis_url, tmp_path):
        kwargs = {"inputs": "x", "webhook": here.url}
        job = str(app.send_task(CLASSIFY, kwargs=kwargs, queue="stoker").id)
        event = event_id(job, "job.completed")
        until(lambda: server.exists(keys.event(event)))
    ended = subprocess.run(
        [sys.executable, "-m", "tests.doubles.faults", point],
        cwd=ROOT,
        env=environment(redis_url, webhook_secret=SECRET, allowed_networks="127.0.0.1"),
        timeout=60,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert len(here.got) == (0 if point == "before_post" else 1)

    # As if its lease had lapsed.
    origin = server.hget(keys.event(event), "origin")
    server.zadd(keys.due(origin), {event: 0}, xx=True)
    server.zadd(keys.ORIGINS, {origin: 0})
    with courier(redis_url, tmp_path, webhook_secret=SECRET):
        until(lambda: server.hget(keys.event(event), "state") == "delivered")
        # It has looked.
        until(lambda: server.zscore(keys.ORIGINS, origin) != 0)

    assert {posted.id for posted in here.got} == {event}
    assert len({posted.body for posted in here.got}) == 1
    assert len(here.got) == (2 if point == "after_post" else 1)
    for posted in here.got:
        verify(posted.body, posted.headers, SECRET)
    assert server.llen(keys.attempts(event)) == 1
