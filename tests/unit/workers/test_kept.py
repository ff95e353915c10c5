"""Messages of failed jobs are kept within bounds: of time, of size, and of all of them together."""

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import redis

from stoker_config import keys
from stoker_workers.broker.kept import keep_messages


@dataclass
class Request:
    id: str
    text: str = "x" * 1000

    @property
    def message(self) -> Any:
        return SimpleNamespace(_raw={"body": self.text})


def kept(server: Any) -> list[str]:
    found = server.hgetall(keys.KEPT)
    assert int(server.get(keys.KEPT_BYTES) or 0) == sum(map(len, found.values()))
    assert set(server.zrange(keys.KEPT_UNTIL, 0, -1)) == set(found)
    return sorted(job_id.decode() for job_id in found)


def test_the_oldest_go_when_there_is_no_room(redis_url: str) -> None:
    size = len(json.dumps(Request("").message._raw))
    with redis.Redis.from_url(redis_url) as server:
        for at in range(5):
            keep_messages(server, [(Request(f"a{at}"), 100 + at)], capacity=3 * size)
        assert kept(server) == ["a2", "a3", "a4"]

        keep_messages(server, [(Request("a3", text="short"), 200)], capacity=3 * size)
        assert kept(server) == ["a2", "a3", "a4"]
        keep_messages(server, [(Request("b"), 300), (Request("c"), 300)], capacity=3 * size)
        assert kept(server) == ["a3", "b", "c"]


def test_what_is_over_its_time_goes_with_the_next_one(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as server:
        keep_messages(server, [(Request("old"), 0)])
        keep_messages(server, [(Request("new"), 100)])
        assert kept(server) == ["new"]


def test_a_large_message_is_not_kept(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as server:
        keep_messages(server, [(Request("large", text="x" * 2_000_000), 100)])
        keep_messages(server, [])
        assert kept(server) == []


def test_of_a_deleted_job_nothing_is_kept(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as server:
        server.set(keys.deleted("gone"), "1")
        keep_messages(server, [(Request("gone"), 100), (Request("there"), 100)])
        assert kept(server) == ["there"]


def test_a_server_that_is_away_is_no_fault() -> None:
    with redis.Redis(unix_socket_path="none.sock") as server:
        keep_messages(server, [(Request("a"), 100)])
