"""The artifact store on a real server: expiry, the limit of one, the cap of all."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from stoker_config import keys
from stoker_config.artifacts import SCHEME, fetch, new_uri
from stoker_config.artifacts_redis import RedisArtifacts
from stoker_tasks.errors import Gone, InputFetchFailed, NoUrl, TooLarge
from tests.support.until import until


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def store(
    server: Any, *, limit: int = 1000, capacity: int = 1000, expires: int = 60
) -> RedisArtifacts:
    return RedisArtifacts(server, limit=limit, capacity=capacity, expires=expires)


def held(server: Any) -> int:
    return int(server.get(keys.ARTIFACT_BYTES) or 0)


def test_bytes_come_back(server: Any) -> None:
    artifacts = store(server)
    data = bytes(range(256))

    uri = artifacts.put(data)

    assert uri.startswith(SCHEME)
    assert artifacts.get([uri]) == {uri: data}
    assert list(fetch(artifacts, [artifacts.put(b"")]).values()) == [b""]
    assert artifacts.get([]) == {}


def test_many_are_read_at_once_and_the_missing_are_left_out(server: Any) -> None:
    artifacts = store(server)
    a, b = artifacts.put(b"a"), artifacts.put(b"b")

    assert artifacts.get([a, new_uri(), b]) == {a: b"a", b: b"b"}
    with pytest.raises(InputFetchFailed, match="submit the job again with its bytes") as gone:
        fetch(artifacts, [new_uri()])
    assert gone.value.details["uri"].startswith(SCHEME)


def test_storing_a_name_again_does_nothing(server: Any) -> None:
    artifacts, uri = store(server), new_uri()

    for data in (b"first", b"second time"):
        assert artifacts.put(data, uri=uri) == uri

    assert artifacts.get([uri]) == {uri: b"first"}
    assert held(server) == 5


def test_one_may_be_too_large(server: Any) -> None:
    artifacts = store(server, limit=10)

    artifacts.put(b"x" * 10)
    with pytest.raises(TooLarge, match=r"11 bytes .*\(STOKER_ARTIFACT_LIMIT") as refused:
        artifacts.put(b"x" * 11)

    assert refused.value.details == {"size": 11, "limit": 10}
    assert held(server) == 10


def test_all_of_them_may_be_too_many(server: Any) -> None:
    artifacts = store(server, capacity=25)
    kept = [artifacts.put(b"x" * 10) for _ in range(2)]

    with pytest.raises(TooLarge, match=r"holds 20 of 25 bytes .* 10 were to be added") as refused:
        artifacts.put(b"x" * 10)

    assert refused.value.details == {"size": 10, "held": 20, "capacity": 25}
    assert artifacts.get(kept).keys() == set(kept)
    # What fits is taken still.
    artifacts.put(b"x" * 5)
    assert held(server) == 25


def test_what_expires_makes_room(server: Any) -> None:
    artifacts = store(server, capacity=30, expires=1)
    old = [artifacts.put(b"x" * 10) for _ in range(3)]

    until(lambda: not artifacts.get(old), 10)
    # The server's clock is read in whole seconds.
    until(lambda: _taken(artifacts), 10)

    assert held(server) <= 30


def _taken(artifacts: RedisArtifacts) -> bool:
    try:
        artifacts.put(b"y" * 10)
    except TooLarge:
        return False
    return True


def test_the_sum_stays_right_through_many_expiries(server: Any) -> None:
    artifacts = store(server)
    for _ in range(150):
        artifacts.put(b"xy")
    kept = artifacts.put(b"z" * 7)
    server.delete(*[key for key in server.scan_iter("stoker:artifact:*") if kept not in str(key)])
    # As if their time were over; each call takes at most 100 off.
    members = server.zrange(keys.ARTIFACT_EXPIRY, 0, -1)
    server.zadd(keys.ARTIFACT_EXPIRY, {m: 1 for m in members if kept not in m.decode()})

    one, other = artifacts.put(b"a"), artifacts.put(b"b")

    assert held(server) == 9
    assert server.zcard(keys.ARTIFACT_EXPIRY) == 3
    assert set(artifacts.get([kept, one, other])) == {kept, one, other}


def test_what_is_deleted_makes_room_at_once(server: Any) -> None:
    artifacts = store(server, capacity=30)
    kept, *others = [artifacts.put(b"x" * 10) for _ in range(3)]

    artifacts.delete([*others, new_uri(), "queued"])
    artifacts.delete([])

    assert held(server) == 10
    assert server.zcard(keys.ARTIFACT_EXPIRY) == 1
    assert artifacts.get([kept, *others]) == {kept: b"x" * 10}
    artifacts.put(b"y" * 20)


def test_each_may_be_kept_for_a_time_of_its_own(server: Any) -> None:
    artifacts = store(server, expires=60)

    uri = artifacts.put(b"x", expires=600)

    assert 590 < server.ttl(keys.artifact(uri)) <= 600


def test_no_other_key_is_read_through_a_name_that_somebody_made_up(server: Any) -> None:
    server.set("stoker:secret", b"x")

    assert store(server).get(["secret"]) == {}


def test_no_url_leads_into_redis(server: Any) -> None:
    artifacts = store(server)

    with pytest.raises(NoUrl, match="STOKER_S3_BUCKET"):
        artifacts.presign(artifacts.put(b"x"))
    with pytest.raises(Gone):
        artifacts.presign(new_uri())


def test_no_more_are_read_than_a_job_may_have(server: Any) -> None:
    artifacts = store(server)
    uris = [artifacts.put(b"x" * 10) for _ in range(10)]

    assert len(artifacts.get(uris, 100)) == 10
    with pytest.raises(TooLarge, match="STOKER_FETCH_LIMIT"):
        artifacts.get(uris, 99)
