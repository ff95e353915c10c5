"""The transport between real processes: workers are killed and frozen, and no job is lost."""

import json
import os
import signal
import socket
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection

from stoker import Client, Failure, State, Success, TextClassification
from stoker_config import keys
from stoker_workers.broker.leases import give_back_of
from stoker_workers.broker.ledger import Ledger
from stoker_workers.broker.transport import ALIAS
from tests.support import redis_server
from tests.support.until import until
from tests.support.worker import Worker, worker

pytestmark = pytest.mark.both_transports


def text(words: str) -> TextClassification:
    return TextClassification(inputs=words)


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def any_worker(transport: str, fast_lane: bool, redis_url: str, tmp_path: Path) -> Iterator[Worker]:
    """A worker on Stoker's transport, and one on kombu's own."""
    with worker(redis_url, tmp_path, transport=transport, fast_lane=fast_lane) as running:
        yield running


@pytest.mark.both_lanes
def test_both_transports_run_a_backlog_and_leave_nothing_behind(
    client: Client, server: Any, any_worker: Worker
) -> None:
    handles = client.submit_many([text(f"job {at}") for at in range(300)])

    results = dict(client.as_completed(handles, timeout=60))

    assert [results[each].output[0]["label"] for each in handles] == [  # type: ignore[union-attr]
        f"job {at}" for at in range(300)
    ]
    until(lambda: not server.hlen("unacked"))
    assert server.zcard("unacked_index") == server.llen("stoker\x06\x163") == 0
    for key in (keys.JOBS, keys.RUNNING):
        assert not server.exists(key)


@pytest.mark.own_transport("many messages are claimed and acknowledged in one step")
def test_taking_storing_and_acknowledging_cost_few_commands(
    client: Client, server: Any, fake_worker: Worker
) -> None:
    client.submit(text("sleep=5"))
    handles = client.submit_many([text("word") for _ in range(1000)])
    server.config_resetstat()

    until(lambda: not server.hlen(keys.JOBS))

    calls = {
        name.removeprefix("cmdstat_"): stat["calls"]
        for name, stat in server.info("commandstats").items()
    }
    # This test's own polling, and the worker's events, are not what is counted.
    for own in ("hlen", "config|resetstat", "info", "publish"):
        calls.pop(own, None)
    assert all(handle.status().state is State.SUCCEEDED for handle in handles[:3])
    assert calls["set"] == 1001
    # One SET and one PUBLISH a result; all else is shared by the jobs of a batch or of a claim, of
    # which a busy machine makes more. Stock Celery takes 14 a job.
    assert sum(calls.values()) + 1001 <= 3.5 * 1001


@pytest.mark.own_transport("an idle worker waits by peeks")
def test_an_idle_worker_claims_once_for_a_job(
    client: Client, server: Any, fake_worker: Worker
) -> None:
    until(lambda: server.info("clients")["blocked_clients"] == 4)
    server.config_resetstat()

    client.submit(text("word")).result(timeout=30)

    until(lambda: server.info("clients")["blocked_clients"] == 4)
    # A claim asks how long each list is.
    assert server.info("commandstats")["cmdstat_llen"]["calls"] == 4


@pytest.mark.own_transport("jobs of a silent worker go to another one within its lease")
def test_jobs_of_a_killed_worker_run_on_another(
    client: Client, server: Any, redis_url: str, tmp_path: Path
) -> None:
    with worker(redis_url, tmp_path, name="w1", lease=2) as first:
        handles = client.submit_many([text(f"sleep=2 {at}") for at in range(3)])
        until(lambda: client.status(handles[0].id).state is State.RUNNING)
        handles += client.submit_many([text(f"job {at}") for at in range(200)])
        until(lambda: server.hlen("unacked") == len(handles))
        os.kill(first.process.pid, signal.SIGKILL)

        with worker(redis_url, tmp_path, name="w2", lease=2):
            results = dict(client.as_completed(handles, timeout=40))

    assert len(results) == 203
    # The one that ran when its worker died was started twice; those that waited, once.
    assert results[handles[0]].times.attempts == 2
    assert results[handles[-1]].times.attempts == 1
    assert all(isinstance(result, Success) for result in results.values())


@pytest.mark.own_transport("jobs of a silent worker go to another one within its lease")
def test_a_job_ten_times_as_long_as_the_lease_runs_once(
    client: Client, server: Any, redis_url: str, tmp_path: Path
) -> None:
    with (
        worker(redis_url, tmp_path, name="w1", lease=1) as first,
        worker(redis_url, tmp_path, name="w2", lease=1) as second,
    ):
        handle = client.submit(text("sleep=10"))
        done = handle.wait(timeout=40)
        lines = first.lines() + second.lines()

    assert isinstance(done, Success)
    assert done.times.attempts == 1
    # Neither was it given back, which would count what ran as a death.
    assert not server.exists(keys.starts(handle.id), keys.deaths(handle.id))
    assert "went back to the queue" not in lines


@pytest.mark.own_transport("a delivery that has gone to another worker is fenced off")
def test_a_frozen_worker_that_wakes_up_late_changes_nothing(
    client: Client, server: Any, redis_url: str, tmp_path: Path
) -> None:
    with worker(redis_url, tmp_path, name="w1", lease=1) as first:
        handle = client.submit(text("sleep=3"))
        until(lambda: handle.status().state is State.RUNNING)
        first.process.send_signal(signal.SIGSTOP)
        with worker(redis_url, tmp_path, name="w2", lease=1) as second:
            done = handle.wait(timeout=60)
            stored = server.get(keys.result(handle.id))
            first.process.send_signal(signal.SIGCONT)
            until(lambda: "had gone to another worker" in first.lines())

            assert isinstance(done, Success)
            assert server.get(keys.result(handle.id)) == stored
            assert "went back to the queue" in second.lines()
            assert server.hlen("unacked") == 0
            # The late one is well again.
            again = client.submit_many([text(f"after {at}") for at in range(20)])
            assert len(list(client.as_completed(again, timeout=20))) == 20


@pytest.mark.both_lanes
def test_a_lost_connection_neither_loses_nor_repeats(
    client: Client, server: Any, any_worker: Worker, transport: str
) -> None:
    handles = client.submit_many([text("sleep=2" if transport == "stoker" else "sleep=6")])
    handles += client.submit_many([text(f"job {at}") for at in range(100)])
    until(lambda: handles[0].status().state is State.RUNNING)
    if transport == "stock":
        # What kombu has popped and not noted yet is lost with the connection.
        until(lambda: server.hlen("unacked") == len(handles))

    for _ in range(3 if transport == "stoker" else 1):
        server.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.2)

    results = dict(client.as_completed(handles, timeout=60))
    assert all(isinstance(result, Success) for result in results.values())
    until(lambda: not server.hlen("unacked"))
    if transport == "stoker":
        assert {result.times.attempts for result in results.values()} == {1}
        assert "had gone to another worker" not in any_worker.lines()


@pytest.mark.own_transport("what is given back keeps its place, unmarked")
def test_what_the_server_refuses_to_store_ends_no_worker_and_is_stored_when_it_may_be(
    client: Client, server: Any, redis_url: str, tmp_path: Path
) -> None:
    app = client.app
    with worker(redis_url, tmp_path, lease=1) as running:
        server.execute_command("ACL", "SETUSER", "default", "-set")
        try:
            refused = app.send_task("stoker.no_such_task", args=["x"], queue="stoker")
            handle = client.submit(text("x"))
            # More than once: what could not be stored comes back.
            until(lambda: running.lines().count("a refusal could not be stored") > 1)
            until(lambda: running.lines().count("outcomes could not be stored") > 1)
            assert running.process.poll() is None
        finally:
            server.execute_command("ACL", "SETUSER", "default", "+set")
        failed = client.wait(refused.id, timeout=20)
        assert isinstance(failed, Failure)
        assert failed.error == "unknown_task"
        assert isinstance(handle.wait(timeout=60), Success)
        until(lambda: not server.exists("unacked", keys.JOBS, keys.RUNNING))


@pytest.mark.own_transport("what is given back keeps its place, unmarked")
def test_an_orderly_stop_gives_jobs_back_in_order_and_unchanged(
    client: Client, server: Any, redis_url: str, tmp_path: Path
) -> None:
    with worker(redis_url, tmp_path) as first:
        running = client.submit(text("sleep=4"))
        until(lambda: running.status().state is State.RUNNING)
        handles = client.submit_many([text(f"job {at}") for at in range(50)])
        until(lambda: server.hlen("unacked") == 51)

        assert first.terminate() == 0

    assert isinstance(running.wait(timeout=1), Success)
    waiting = server.lrange("stoker\x06\x163", 0, -1)
    assert len(waiting) == 50
    assert [handles[-1 - at].id in each.decode() for at, each in enumerate(waiting)] == [True] * 50
    assert not any(b'"redelivered": true' in each for each in waiting)
    assert server.hlen("unacked") == server.zcard("unacked_index") == 0


@pytest.mark.own_transport("a lost connection gives back what nobody works on, and repeats nothing")
def test_a_connection_that_breaks_among_claimed_messages_strands_none(
    client: Client, server: Any, redis_url: str
) -> None:
    client.submit_many([text(f"job {at}") for at in range(5)], allow_unserved=True)
    url = f"{ALIAS}+socket://{redis_url.removeprefix('unix://')}"
    connection = Connection(url, transport_options={"queue_order_strategy": "priority"})
    channel = connection.channel()
    taken: list[str] = []

    def take(message: Any) -> None:
        taken.append(message.delivery_tag)
        if len(taken) == 2:
            raise redis.ConnectionError("away")

    channel.basic_qos(0, 100, False)
    channel.basic_consume("stoker", False, take, "consumer")
    with pytest.raises(redis.ConnectionError):
        connection.drain_events(timeout=20)
    connection.close()

    assert len(taken) == 2
    assert channel.ledger.count() == server.hlen("unacked") == 0
    waiting = [json.loads(each) for each in server.lrange("stoker\x06\x163", 0, -1)]
    assert len(waiting) == 5


@pytest.mark.own_transport("a lost connection gives back what nobody works on, and repeats nothing")
def test_a_claim_whose_answer_is_lost_goes_back_before_the_next_claim(
    client: Client, server: Any, redis_url: str
) -> None:
    client.submit_many([text(f"job {at}") for at in range(5)], allow_unserved=True)
    url = f"{ALIAS}+socket://{redis_url.removeprefix('unix://')}"
    taken: list[str] = []

    def consume(connection: Connection) -> Any:
        channel = connection.channel()
        channel.basic_qos(0, 100, False)
        channel.basic_consume("stoker", False, lambda each: taken.append(each.body), "consumer")
        return channel

    cut = Connection(url, transport_options={"queue_order_strategy": "priority"})
    channel = consume(cut)
    channel.connection.cycle._register_BRPOP(channel)  # as the event loop asks it to claim
    until(lambda: server.hlen("unacked") == 5)
    lost = channel._in_poll._sock
    lost.recv(1 << 20)
    lost.shutdown(socket.SHUT_RDWR)
    cut.close()
    assert (channel.ledger.count(), server.hlen("unacked")) == (0, 5)

    with Connection(url, transport_options={"queue_order_strategy": "priority"}) as connection:
        consume(connection)
        connection.drain_events(timeout=5)

    bodies = [json.loads(each) for each in taken]
    assert [body[1]["inputs"] for body in bodies] == [f"job {at}" for at in range(5)]


def test_the_queues_of_one_worker_take_turns(server: Any, redis_url: str) -> None:
    for queue in ("a", "b"):
        for _ in range(100):
            properties = {"delivery_info": {}, "delivery_tag": ""}
            message = {"body": "", "headers": {"queue": queue}, "properties": properties}
            server.lpush(queue, json.dumps(message))
    url = f"{ALIAS}+socket://{redis_url.removeprefix('unix://')}"
    options = {"queue_order_strategy": "priority", "claim_limit": 20}
    taken: list[str] = []
    with Connection(url, transport_options=options) as connection:
        channel = connection.channel()
        for queue in ("a", "b"):
            channel.basic_consume(
                queue, False, lambda each: taken.append(each.headers["queue"]), queue
            )
        while len(taken) < 80:
            connection.drain_events(timeout=5)

    # Each takes eighteen of a claim of twenty when it is the first.
    assert abs(taken.count("a") - taken.count("b")) < 20


def test_a_worker_that_is_told_to_end_while_its_server_is_away_ends(
    tmp_path: Path,
) -> None:
    with redis_server.folder() as folder:
        with redis_server.running(folder) as url, Client(url) as client:
            cut = worker(url, tmp_path)
            running = cut.__enter__()
            handle = client.submit(text("sleep=2"))
            until(lambda: handle.status().state is State.RUNNING)
        try:
            # Seconds for storing what the batch completed, and for Celery's own good-bye.
            running.terminate(timeout=90)
            assert "go to another worker when their leases lapse" in running.lines()
        finally:
            cut.__exit__(None, None, None)


DEEP = "[" * 3000 + "]" * 3000
# What stands in an envelope instead of what kombu puts there, as JSON.
NO_MESSAGES = {
    "short base64": {"body": '"abcde"'},
    "base64 of letters": {"body": '"ü"'},
    "a number for a body": {"body": "5"},
    "an unknown encoding": {"properties": '{"body_encoding": "rot13", "delivery_info": {}}'},
    "a list for headers": {"headers": "[1]"},
    "deep headers": {"headers": f'{{"task": "x", "id": "x", "deep": {DEEP}}}'},
    "a deep envelope": {"deep": DEEP},
    "a list for an encoding": {"content-encoding": "[1]"},
    "a list for delivery_info": {"properties": '{"delivery_info": [1]}'},
    "no properties": {"properties": "null"},
    "half of a pair for an ID": {"headers": '{"task": "x", "id": "\\ud83d"}'},
    "half of a pair for a task": {"headers": '{"task": "\\ud83d", "id": "y"}'},
    "half of a pair for a task of ours": {"headers": '{"task": "stoker.\\ud83d", "id": "z"}'},
    "an endless priority": {"properties": '{"priority": 1e999, "body_encoding": "base64"}'},
    "not JSON": None,
    "no object": None,
}


def no_message(kind: str, good: bytes) -> str:
    """Make a message that is none of kombu's of one that is."""
    changed = NO_MESSAGES[kind]
    if changed is None:
        return {"not JSON": "{", "no object": "[]"}[kind]
    envelope = json.loads(good)
    envelope["headers"]["id"] = kind
    whole = {name: json.dumps(value) for name, value in envelope.items()} | changed
    return "{" + ", ".join(f'"{name}": {value}' for name, value in whole.items()) + "}"


def among_good_ones(client: Client, server: Any) -> list[Any]:
    """Put each kind of message that is none between two jobs."""
    handles = client.submit_many([text("first"), text("last")], allow_unserved=True)
    last, first = server.lrange("stoker\x06\x163", 0, -1)
    bad = [no_message(kind, first) for kind in NO_MESSAGES]
    server.delete("stoker\x06\x163")
    server.lpush("stoker\x06\x163", first, *bad, last)
    return handles


@pytest.mark.own_transport("what makes no message is dropped, and the worker lives")
def test_what_makes_no_message_ends_neither_the_worker_nor_its_neighbours(
    client: Client, server: Any, redis_url: str, tmp_path: Path
) -> None:
    handles = among_good_ones(client, server)

    with worker(redis_url, tmp_path) as running:
        results = dict(client.as_completed(handles, timeout=20))
        assert all(isinstance(result, Success) for result in results.values())
        until(lambda: not server.hlen("unacked"))
        assert running.process.poll() is None
        assert {result.times.attempts for result in results.values()} == {1}
        assert "[[[" not in running.lines()
    # Whose body alone makes no sense hears of it.
    assert isinstance(answer := client.wait("short base64", timeout=5), Failure)
    assert answer.error == "invalid_input"


@pytest.mark.own_transport("what makes no message is dropped, and the worker lives")
def test_what_makes_no_message_keeps_no_dead_workers_jobs_from_going_back(
    client: Client, server: Any
) -> None:
    among_good_ones(client, server)
    good = server.lrange("stoker\x06\x163", 0, -1)
    for at, held in enumerate(reversed(good), 1):
        server.hset("unacked", f"dead-1.1.{at}", b"[" + held + b', "", "stoker"]')
        server.zadd("unacked_index", {f"dead-1.1.{at}": at})
    server.delete("stoker\x06\x163")
    ledger = Ledger(server, "unacked_index", "unacked", 60)

    assert give_back_of(ledger, "dead") >= 2

    assert server.hlen("unacked") == server.zcard("unacked_index") == 0
    back = [json.loads(each) for each in server.lrange("stoker\x06\x163", 0, -1)]
    words = [json.loads(b64decode(each["body"]))[1]["inputs"] for each in (back[-1], back[0])]
    assert words == ["first", "last"]
    assert back[0]["headers"]["redelivered"] is True
