"""What outlives a lost connection counts against the prefetch, and its leases are held on to."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu import Connection

from stoker_workers.broker.ledger import Ledger
from stoker_workers.broker.transport import ALIAS

TAGS = [f"earlier.{number}" for number in range(6)]


@pytest.fixture
def channel(redis_url: str) -> Iterator[Any]:
    url = f"{ALIAS}+socket://{redis_url.removeprefix('unix://')}"
    with Connection(url, transport_options={"lease": 60}) as connection:
        channel = connection.channel()
        yield channel
        # It is the process's, and the server is other tests' as well.
        channel.ledger.acknowledged(TAGS)


def test_what_an_earlier_connection_took_counts_against_the_prefetch(channel: Any) -> None:
    channel.basic_qos(prefetch_count=4)
    assert channel.qos.can_consume_max_estimate() == 4

    channel.ledger.claimed(dict.fromkeys(TAGS[:3], "stoker"))
    assert channel.qos.can_consume_max_estimate() == 1

    channel.ledger.claimed(dict.fromkeys(TAGS[3:], "stoker"))
    assert channel.qos.can_consume_max_estimate() == 0

    channel.ledger.acknowledged(TAGS[:3])
    assert channel.qos.can_consume_max_estimate() == 1


class Pauses:
    """Stands for the event that ends a ledger: notes how long it is waited for."""

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return len(self.waited) > self.turns


def test_a_heartbeat_that_failed_is_tried_again_soon_and_ever_more_seldom(redis_url: str) -> None:
    beats = iter([True, False, False, False, False, False, True, False, True])
    ledger = Ledger(redis.Redis.from_url(redis_url), "index", "table", 12.0)
    pauses: Any = Pauses(9)
    ledger._end, ledger.pulse = pauses, lambda: next(beats)  # type: ignore[method-assign]

    ledger._run()

    assert pauses.waited == [4, 4, 0.25, 0.5, 1, 2, 4, 4, 0.25, 4]


def test_a_server_that_is_away_for_weeks_ends_no_heartbeat(redis_url: str) -> None:
    ledger = Ledger(redis.Redis.from_url(redis_url), "index", "table", 12.0)
    pauses: Any = Pauses(3000)
    ledger._end, ledger.pulse = pauses, lambda: False  # type: ignore[method-assign]

    ledger._run()

    assert set(pauses.waited[6:]) == {4}


def test_whatever_a_heartbeat_raises_the_next_one_comes(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(redis_url) as server:
        ledger = Ledger(server, "index", "table", 12.0)
        pauses, beats = Pauses(3), []

        def beat() -> None:
            beats.append(1)
            if len(beats) == 1:
                raise ValueError("as libraries do, this quotes an input")

        ledger._end, ledger.beat = pauses, beat  # type: ignore[assignment, method-assign]

        ledger._run()

    assert pauses.waited == [4, 0.25, 4, 4]
    assert "leases could not be renewed: ValueError at beat" in caplog.text
    assert "input" not in caplog.text


def test_a_heartbeat_says_whether_it_came_through(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as server:
        assert Ledger(server, "index", "table", 12.0).pulse()
    nobody = redis.Redis(port=1)
    ledger = Ledger(nobody, "index", "table", 12.0)
    ledger.claimed({"a.1": "stoker"})
    assert not ledger.pulse()
    ledger._end.set()
