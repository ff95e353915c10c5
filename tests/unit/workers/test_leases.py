"""What a dead worker held goes back in one look, all of it and in order, however much it is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from kombu import Connection
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from stoker_workers.broker import leases
from stoker_workers.broker.ledger import Ledger
from stoker_workers.broker.scripts import CLAIM
from stoker_workers.broker.transport import ALIAS

LIST = "stoker\x06\x163"


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@contextmanager
def survivor(redis_url: str) -> Iterator[Any]:
    """A living worker's channel."""
    url = f"{ALIAS}+socket://{redis_url.removeprefix('unix://')}"
    options = {"queue_order_strategy": "priority", "lease": 60}
    with Connection(url, transport_options=options) as connection:
        channel = connection.channel()
        channel.basic_consume("stoker", False, lambda _: None, "consumer")
        yield channel


def submit(server: Any, count: int, size: int = 0) -> None:
    with server.pipeline() as pipe:
        for at in range(count):
            properties = {"priority": 3, "delivery_info": {"routing_key": "stoker"}}
            message = {"body": f"{at}" + " " * size, "headers": {"id": f"job-{at}"}}
            pipe.lpush(LIST, json.dumps(message | {"properties": properties}))
        pipe.execute()


def claim_and_die(server: Any, holders: int) -> dict[int, int]:
    """Have workers claim all in turns and fall silent; gives each job's worker."""
    took: dict[int, int] = {}
    for number in range(1000):
        holder = number % holders
        prefix = f"dead{holder}-0123456789ab.{1 + number // holders}."
        flat = server.eval(
            CLAIM, 3, "unacked_index", "unacked", LIST, 256, prefix, 25, json.dumps("stoker")
        )
        if not flat:
            break
        took |= {int(json.loads(text)["body"]): holder for text in flat[1::2]}
    # Heartbeats renew many at once, so that their times tell nothing of their order.
    server.zadd("unacked_index", dict.fromkeys(server.zrange("unacked_index", 0, -1), 1))
    return took


def waiting(server: Any) -> list[int]:
    """List the jobs that wait, the next to be served first."""
    messages = [json.loads(text) for text in reversed(server.lrange(LIST, 0, -1))]
    return [int(message["body"]) for message in messages]


@pytest.mark.parametrize(("holders", "jobs"), [(1, 768), (8, 8 * 768)])
def test_one_look_gives_back_all_that_lost_workers_held_in_order(
    server: Any, redis_url: str, holders: int, jobs: int
) -> None:
    submit(server, jobs)
    took = claim_and_die(server, holders)
    assert len(took) == jobs

    with survivor(redis_url) as channel:
        channel.qos.restore_visible()

    assert server.hlen("unacked") == server.zcard("unacked_index") == 0
    back = waiting(server)
    assert len(back) == jobs
    for holder in range(holders):
        its = [job for job in back if took[job] == holder]
        assert its == sorted(its)


def test_what_waits_already_is_served_after_it(server: Any, redis_url: str) -> None:
    submit(server, 300)
    claim_and_die(server, 1)
    submit(server, 301)
    server.ltrim(LIST, 0, 0)  # one more job, the last one

    with survivor(redis_url) as channel:
        channel.qos.restore_visible()

    assert waiting(server) == list(range(301))


def test_very_much_goes_back_in_turns_of_the_event_loop(
    server: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_ENOUGH", 400_000)
    submit(server, 1000, size=1000)
    claim_and_die(server, 1)
    before, hub = get_event_loop(), Hub()
    set_event_loop(hub)
    left: list[int] = []
    try:
        with survivor(redis_url) as channel:
            # As the event loop does; kombu's own look comes every ten seconds.
            channel.connection.cycle.add(channel)
            channel.qos.restore_visible()
            while len(left) < 100 and (not left or left[-1]):
                left.append(server.hlen("unacked"))
                hub.run_once()
    finally:
        set_event_loop(before)
        hub.close()

    assert sorted(set(left), reverse=True) == [600, 200, 0]
    assert waiting(server) == list(range(1000))


def test_what_lives_or_is_ended_meanwhile_is_passed_over(server: Any) -> None:
    submit(server, 5)
    claim_and_die(server, 1)
    held = Ledger(server, "unacked_index", "unacked", 60.0)
    held.acknowledge(["dead0-0123456789ab.1.2"])
    server.zadd("unacked_index", {"dead0-0123456789ab.1.4": server.time()[0]})

    assert leases.give_back_lapsed(held, 60.0, 3600.0, lambda _, key: [key]) == (3, False)

    assert waiting(server) == [0, 2, 4]
    assert server.hkeys("unacked") == [b"dead0-0123456789ab.1.4"]


def test_stock_tags_and_odd_ones_go_back_as_they_lapsed() -> None:
    tags = ["b-uuid", "odd.tag.x", "w.1-ab.2.1", "a-uuid", "w.1-ab.1.10", "w.1-ab.1.9"]

    assert leases._in_order(tags) == [
        *("b-uuid", "odd.tag.x", "w.1-ab.1.9", "w.1-ab.1.10", "w.1-ab.2.1", "a-uuid")
    ]
