"""The courier on a real Redis, with real receivers: nothing lost, nobody delayed by another."""

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from redis import asyncio as aioredis
from standardwebhooks.webhooks import Webhook as Judge

from stoker_config import keys, outbox
from stoker_config.artifacts import new_uri
from stoker_config.secrets import Secrets
from stoker_config.settings import Settings
from stoker_config.stores import open_store
from stoker_tasks import signature
from stoker_tasks.event import Event, listener_of
from stoker_tasks.result import Artifact, Success, reference
from stoker_workers.outside.addresses import Guard
from stoker_workers.outside.posting import Poster
from stoker_workers.webhooks.courier import Courier
from stoker_workers.webhooks.due import DueEvents, Leased, Noted
from stoker_workers.webhooks.post import Post
from stoker_workers.webhooks.slots import Busy
from tests.support.receiver import Posted, Reply, receiver
from tests.support.s3 import S3
from tests.support.until import until

SECRET = signature.new_secret()
OLD_SECRET = signature.new_secret()
MIX = ("hangs", "quick")


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@contextmanager
def running(redis_url: str, timeout: float = 5.0, **options: Any) -> Iterator[Courier]:
    """Run a courier in this process."""
    settings = Settings(
        webhook_secret=SecretStr(f"{SECRET},{OLD_SECRET}"),
        allowed_networks=options.pop("allowed", ("127.0.0.1",)),
    )
    lease, store = options.pop("lease", 60.0), options.pop("store", None)
    stops: list[Any] = []
    couriers: list[Courier] = []

    async def deliver() -> None:
        async with aioredis.Redis.from_url(redis_url) as client:
            poster = Poster(Guard(settings.allowed_networks))
            post = Post(poster, Secrets(settings), timeout, store)
            due = DueEvents(client, lease=lease, keep=600)
            courier = Courier(client, due, post, **{"slots": 16, "host_slots": 4, **options})
            couriers.append(courier)
            loop = asyncio.get_running_loop()
            stops.append(lambda: loop.call_soon_threadsafe(courier.stop))
            await courier.run()
            await post.close()

    thread = threading.Thread(target=asyncio.run, args=(deliver(),))
    thread.start()
    until(lambda: stops)
    try:
        yield couriers[0]
    finally:
        stops[0]()
        thread.join()


@asynccontextmanager
async def due_events(redis_url: str, lease: float = 60.0) -> AsyncIterator[DueEvents]:
    async with aioredis.Redis.from_url(redis_url) as client:
        yield DueEvents(client, lease=lease, keep=600)


def tell(
    server: Any, url: str, job: str = "j", secret: str = "default", result: Success | None = None
) -> Event:
    """Put the end of a job into the outbox."""
    result = result or Success(output=f"ü of {job}", task="t", model="m@local")
    listener = listener_of({"webhook": {"url": url, "secret": secret}}, {})
    assert listener is not None
    event = listener.completed(job, result)
    assert event is not None
    key = keys.result(event.job)
    assert server.eval(outbox.TELL, 1, key, *outbox.fields(event)) == 1
    return event


def record(server: Any, event: Event) -> dict[str, str]:
    return dict(server.hgetall(keys.event(event.id)))


def attempts(server: Any, event: Event) -> list[dict[str, Any]]:
    return [json.loads(each) for each in server.lrange(keys.attempts(event.id), 0, -1)]


def state(server: Any, event: Event) -> str:
    return record(server, event)["state"]


def due_in(server: Any, event: Event) -> float:
    """Seconds until an event is due, by the server's clock."""
    seconds, micros = map(int, server.time())
    return float(server.zscore(keys.again(event.origin), event.id)) - seconds - micros / 1e6


def skip_the_wait(server: Any, event: Event) -> None:
    """Make an event due now."""
    server.zadd(keys.again(event.origin), {event.id: 0}, xx=True)
    server.zadd(keys.ORIGINS, {event.origin: 0})
    server.publish(keys.WAKE, "")


def test_an_event_is_posted_at_once_and_both_secrets_verify_it(server: Any, redis_url: str) -> None:
    with receiver() as here, running(redis_url):
        event = tell(server, f"{here.url}?mine=1")
        until(lambda: state(server, event) == "delivered")

    [posted] = here.got
    for secret in (SECRET, OLD_SECRET):
        body = Judge(secret).verify(posted.body, posted.headers)
    assert posted.path == "/hook?mine=1"
    assert posted.id == event.id
    assert posted.body == event.body.encode()
    assert body["type"] == "job.completed"
    assert body["data"]["result"]["output"] == "ü of j"
    [attempt] = attempts(server, event)
    assert (attempt["status"], attempt["error"]) == (204, None)
    assert attempt["ms"] > 0
    assert abs(attempt["at"] - time.time()) < 60
    assert set(attempt) == {"at", "ms", "status", "error"}
    assert not server.exists(keys.PENDING, keys.due(event.origin), keys.again(event.origin))
    assert server.zrange(keys.DELIVERED, 0, -1) == [event.id]


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 503])
def test_all_but_2xx_is_posted_again_by_the_schedule(
    server: Any, redis_url: str, status: int
) -> None:
    answer = Reply(status, {"location": "http://127.0.0.1:1/", "retry-after": "20"})
    with receiver(lambda _: answer) as here, running(redis_url):
        event = tell(server, here.url)
        until(lambda: attempts(server, event))

        # The receiver asked for more than the five seconds of the schedule.
        assert 10 < due_in(server, event) <= 22
    assert len(here.got) == 1
    assert attempts(server, event)[0]["status"] == status
    assert state(server, event) == "pending"


def test_after_ten_attempts_an_event_is_given_up(server: Any, redis_url: str) -> None:
    waits = []
    with receiver(lambda _: Reply(418)) as here, running(redis_url):
        event = tell(server, here.url)
        for tries in range(1, 11):
            until(lambda tries=tries: len(attempts(server, event)) == tries)  # type: ignore[misc]
            if tries < 10:
                waits.append(due_in(server, event))
                skip_the_wait(server, event)

    assert state(server, event) == "dead"
    assert record(server, event)["why"] == "given_up"
    assert server.zrange(keys.DEAD_EVENTS, 0, -1) == [event.id]
    assert not server.exists(keys.PENDING, keys.due(event.origin), keys.again(event.origin))
    schedule = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    for waited, meant in zip(waits, schedule, strict=True):
        assert meant - 20 < waited <= 1.1 * meant
    # Each attempt is signed anew, under one ID.
    assert {posted.id for posted in here.got} == {event.id}
    for posted in here.got:
        Judge(SECRET).verify(posted.body, posted.headers)


def test_410_disables_the_endpoint_and_no_other(server: Any, redis_url: str) -> None:
    def answer(posted: Posted) -> Reply:
        return Reply(410 if posted.path.startswith("/hook?") else 200)

    with receiver(answer) as here, running(redis_url):
        gone = tell(server, f"{here.url}?a=1", "a")
        until(lambda: state(server, gone) == "dead")
        next_one = tell(server, f"{here.url}?b=2", "b")
        until(lambda: state(server, next_one) == "dead")
        other = tell(server, f"{here.url}/other", "c")
        until(lambda: state(server, other) == "delivered")

    assert record(server, gone)["why"] == "gone"
    assert record(server, next_one)["why"] == "disabled"
    assert not here.of(next_one.id)
    assert server.zrange(keys.DISABLED, 0, -1) == [here.url]


def test_what_waits_for_an_endpoint_that_is_gone_takes_no_other_event_s_turn(
    server: Any, redis_url: str
) -> None:
    gone = [tell(server, "http://127.0.0.1:9/gone", f"gone {at}") for at in range(30)]
    lost = [tell(server, "http://127.0.0.1:9/", f"lost {at}") for at in range(30)]
    server.delete(*(keys.event(each.id) for each in lost))
    event = tell(server, "http://127.0.0.1:9/", "behind all these")
    server.zadd(keys.DISABLED, {"http://127.0.0.1:9/gone": 1})

    async def claim() -> list[Leased]:
        async with due_events(redis_url) as due:
            return await due.claim(8, 0, 2, [Busy(event.origin, posts=1, slots=1)])

    [leased] = asyncio.run(claim())
    assert leased.id == event.id
    assert {record(server, each)["why"] for each in gone} == {"disabled"}
    assert server.zrange(keys.PENDING, 0, -1) == [event.id]


def test_a_fault_of_its_own_is_noted_and_the_event_tried_again(server: Any, redis_url: str) -> None:
    class Broken:
        def presign(self, uri: str) -> str:
            raise ValueError("not what was expected of a store")

    uri = new_uri()
    result = Success(output=reference(uri, 9), task="t", model="m@local")
    with receiver() as here, running(redis_url, store=Broken()):
        event = tell(server, here.url, result=result)
        until(lambda: attempts(server, event))

    assert attempts(server, event)[0]["error"] == "internal"
    assert state(server, event) == "pending"
    assert due_in(server, event) < 50  # by the schedule, not by its lease
    assert not server.exists(keys.TROUBLE)


@pytest.mark.parametrize(
    ("url", "secret", "error"),
    [
        ("http://127.0.0.1:1/", "default", "connection"),
        ("http://10.0.0.1/", "default", "not_allowed"),
        ("http://169.254.169.254/latest/", "default", "not_allowed"),
        ("http://nobody.invalid/", "default", "unresolved"),
        ("http://999.1.1.1/", "default", "unresolved"),
        ("http://[v1.a]/", "default", "unresolved"),
        ("https://127.0.0.1:{port}/", "default", "tls"),
        ("http://127.0.0.1:{port}/", "nobody", "no_secret"),
    ],
)
def test_what_went_wrong_is_noted_and_the_event_waits(
    server: Any, redis_url: str, url: str, secret: str, error: str
) -> None:
    with receiver() as here, running(redis_url):
        port = here.url.split(":")[2].partition("/")[0]
        event = tell(server, url.replace("{port}", port), secret=secret)
        until(lambda: attempts(server, event))

    assert attempts(server, event)[0]["error"] == error
    assert state(server, event) == "pending"
    assert not here.got


def test_an_event_has_fresh_urls_of_what_its_result_refers_to(
    server: Any, redis_url: str, s3: S3
) -> None:
    settings = Settings.model_validate({**s3.settings(), "redis_url": redis_url})
    store = open_store(settings, redis.Redis.from_url(redis_url))
    image, whole = store.put(b"image"), store.put(b'["large"]')
    result = Success(
        output=reference(whole, 9),
        artifacts=[Artifact(uri=image, mime_type="image/png", size=5)],
        task="t",
        model="m@local",
        # What a caller wrote names nothing.
        metadata={"note": new_uri()},
    )
    with receiver() as here, running(redis_url, store=store):
        event = tell(server, here.url, result=result)
        until(lambda: state(server, event) == "delivered")

    [posted] = here.got
    data = Judge(SECRET).verify(posted.body, posted.headers)["data"]
    assert data.pop("urls").keys() == {image, whole}
    assert data == json.loads(event.body)["data"]
    for uri, content in {image: b"image", whole: b'["large"]'}.items():
        with urllib.request.urlopen(json.loads(posted.body)["data"]["urls"][uri]) as answer:
            assert answer.read() == content


def test_a_store_that_does_not_answer_is_not_waited_for(server: Any, redis_url: str) -> None:
    release = threading.Event()

    class Hanging:
        def presign(self, uri: str) -> str:
            release.wait(30)
            return uri

    result = Success(output=reference(new_uri(), 9), task="t", model="m@local")
    with receiver() as here, running(redis_url, store=Hanging(), timeout=3.0):
        event = tell(server, here.url, result=result)
        until(lambda: attempts(server, event))
        assert not release.is_set()
        release.set()

    assert state(server, event) == "delivered"
    assert [posted.body for posted in here.got] == [event.body.encode()]


def test_a_receiver_that_does_not_answer_is_not_waited_for(server: Any, redis_url: str) -> None:
    release = threading.Event()

    def hang(_: Posted) -> Reply:
        release.wait(30)
        return Reply()

    with receiver(hang) as here, running(redis_url, timeout=0.3):
        event = tell(server, here.url)
        until(lambda: attempts(server, event))
        release.set()

    assert attempts(server, event)[0]["error"] == "timeout"


def test_a_name_that_could_not_be_looked_up_in_time_says_nothing_of_its_host(
    server: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        release.wait(30)
        return ["127.0.0.1"]

    monkeypatch.setattr("stoker_workers.outside.lookups.MOST_LOOKUPS", 1)
    monkeypatch.setattr("stoker_workers.outside.addresses.system_addresses", hang)
    with running(redis_url, timeout=0.5):
        events = [tell(server, f"http://{name}.test/", name) for name in ("one", "other")]
        until(lambda: all(attempts(server, event) for event in events))
        release.set()

    errors = {attempts(server, event)[0]["error"]: event.origin for event in events}
    assert errors.keys() == {"timeout", "internal"}
    assert server.hkeys(keys.TROUBLE) == [errors["timeout"]]


def test_a_slow_receiver_has_few_slots_and_delays_nobody(server: Any, redis_url: str) -> None:
    release = threading.Event()
    at_once, most = 0, 0
    lock = threading.Lock()

    def hang(_: Posted) -> Reply:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        release.wait(30)
        with lock:
            at_once -= 1
        return Reply()

    with receiver(hang) as slow, receiver() as quick, running(redis_url, timeout=20):
        held = [tell(server, slow.url, f"slow {at}") for at in range(12)]
        until(lambda: len(slow.got) == 4)
        events = [tell(server, quick.url, f"quick {at}") for at in range(40)]
        until(lambda: all(state(server, event) == "delivered" for event in events))

        assert len(slow.got) == 4
        release.set()
        until(lambda: all(state(server, event) == "delivered" for event in held))
    assert most == 4


def hang(release: threading.Event, posted: Posted) -> Reply:
    """Answer what names a job that hangs only when it is released."""
    if json.loads(posted.body)["data"]["id"].startswith("hangs"):
        release.wait(60)
    return Reply()


def test_posts_that_hang_keep_no_other_event_of_their_host_waiting(
    server: Any, redis_url: str
) -> None:
    release = threading.Event()

    with receiver(partial(hang, release)) as here, running(redis_url, timeout=30, slots=64):
        # Four slots, and every second post hangs.
        told = [(tell(server, here.url, f"{name} {at}"), name) for at in range(16) for name in MIX]
        quick = [event for event, name in told if name == "quick"]
        until(lambda: all(state(server, event) == "delivered" for event in quick))

        assert all(state(server, event) == "pending" for event, name in told if name == "hangs")
        release.set()
        until(lambda: all(state(server, event) == "delivered" for event, _ in told))
    assert len(here.got) == len(told)


def test_time_outs_of_a_host_that_answers_others_do_not_have_it_left_alone(
    server: Any, redis_url: str
) -> None:
    release = threading.Event()

    with receiver(partial(hang, release)) as here, running(redis_url, timeout=3.0, slots=64):
        told = [(tell(server, here.url, f"{name} {at}"), name) for at in range(12) for name in MIX]
        hanging = [event for event, name in told if name == "hangs"]
        until(lambda: all(attempts(server, event) for event, _ in told))

        assert {attempts(server, event)[0]["error"] for event in hanging} == {"timeout"}
        # The very last ones had nobody after them.
        assert int((server.hget(keys.TROUBLE, told[0][0].origin) or "0:").split(":")[0]) < 8
        release.set()


def test_a_fresh_event_waits_behind_none_that_is_posted_again_nor_those_for_ever(
    server: Any, redis_url: str
) -> None:
    origin = tell(server, "http://127.0.0.1:9/", "0").origin
    for at in range(1, 200):
        tell(server, "http://127.0.0.1:9/", f"{at}")

    async def claims() -> list[list[int]]:
        async with due_events(redis_url) as due:
            leased = await due.claim(200, 0, 200)
            again = Noted(outcome="again", attempt={}, delay=-9)
            assert all(await due.note([(each, again) for each in leased]))
            for at in range(200):
                tell(server, "http://127.0.0.1:9/", f"fresh {at}")
            return [[each.tries for each in await due.claim(2, 0, 2)] for _ in range(100)]

    found = asyncio.run(claims())
    # By lot, one claim in four has those first that were posted before.
    assert {tuple(each) for each in found} == {(0, 0), (1, 1)}
    assert 50 < found.count([0, 0]) < 97
    assert server.zcard(keys.again(origin)) == 200


def test_many_events_are_taken_and_noted_in_few_steps(server: Any, redis_url: str) -> None:
    go = threading.Event()

    def answer(_: Posted) -> Reply:
        go.wait(30)
        return Reply()

    def steps() -> int:
        return int(server.info("commandstats")["cmdstat_evalsha"]["calls"])

    events = [tell(server, "http://127.0.0.1:9/", f"{at}") for at in range(90)]
    with receiver(answer) as here:
        for event in events:
            server.hset(keys.event(event.id), "url", here.url)
        server.config_resetstat()
        options = {"timeout": 60.0, "slots": 200, "host_slots": 100}
        with running(redis_url, **options) as courier:
            until(lambda: len(here.got) == 90)
            # It also looks once a second; one step for each would be 90.
            assert steps() < 60
            # No script runs meanwhile, so that the posts end in one bunch.
            server.client_pause(60_000, all=False)
            try:
                server.config_resetstat()
                go.set()
                until(lambda: not courier._attempts)
            finally:
                server.client_unpause()
            until(lambda: server.zcard(keys.DELIVERED) == 90)
            assert steps() < 60

    assert len(here.got) == 90


def test_a_receiver_that_keeps_failing_is_left_alone_and_then_tried_with_one(
    server: Any, redis_url: str
) -> None:
    well = threading.Event()

    def answer(_: Posted) -> Reply:
        return Reply(200 if well.is_set() else 500)

    with receiver(answer) as here, running(redis_url, host_slots=1):
        events = [tell(server, here.url, f"{at}") for at in range(30)]
        until(lambda: server.hget(keys.TROUBLE, events[0].origin) or "")
        # Eight failures, and then one more each time that it is tried again.
        until(lambda: int(server.hget(keys.TROUBLE, events[0].origin).split(":")[0]) >= 9)
        assert len(here.got) < 13
        assert sum(not attempts(server, event) for event in events) > 15
        well.set()
        until(lambda: not server.hexists(keys.TROUBLE, events[0].origin))
        for event in events:
            skip_the_wait(server, event)
        until(lambda: all(state(server, event) == "delivered" for event in events))


def test_failures_that_come_together_count_as_the_trouble_that_they_are(
    server: Any, redis_url: str
) -> None:
    together = threading.Barrier(12)

    def answer(_: Posted) -> Reply:
        together.wait(20)
        return Reply(500)

    with receiver(answer) as here, running(redis_url, slots=32, host_slots=12):
        events = [tell(server, here.url, f"{at}") for at in range(12)]
        until(lambda: all(attempts(server, event) for event in events))

        # It is left alone for a second after the eighth, not for two, four, eight … after others.
        failures, till = server.hget(keys.TROUBLE, events[0].origin).split(":")
        assert int(failures) == 8
        assert float(till) - server.time()[0] <= 2


def test_what_had_hung_since_before_an_origin_was_left_alone_says_nothing_new(
    server: Any, redis_url: str
) -> None:
    events = [tell(server, "http://127.0.0.1:9/", f"{at}") for at in range(3)]
    origin = events[0].origin

    async def fails(due: DueEvents, leased: Leased, took: float) -> str:
        hurt = Noted(outcome="again", attempt={}, delay=60, origin="trouble", took=took)
        assert await due.note([(leased, hurt)]) == [True]
        return str(server.hget(keys.TROUBLE, origin).split(":")[0])

    async def failing() -> list[str]:
        async with due_events(redis_url) as due:
            leased = await due.claim(8, 0, 8)
            # It was left alone until a second ago.
            server.hset(keys.TROUBLE, origin, f"8:{server.time()[0] - 1}")
            return [await fails(due, leased[0], took=15.0), await fails(due, leased[1], took=0.0)]

    assert asyncio.run(failing()) == ["8", "9"]


def test_an_origin_that_is_well_again_is_tried_at_once(server: Any, redis_url: str) -> None:
    events = [tell(server, "http://127.0.0.1:9/", f"{at}") for at in range(3)]
    origin = events[0].origin

    async def mending() -> None:
        async with due_events(redis_url) as due:
            [first] = await due.claim(1, 0, 8)
            server.hset(keys.TROUBLE, origin, f"9:{server.time()[0] + 60}")
            assert await due.claim(8, 0, 8, [Busy(origin, posts=1, slots=1)]) == []

            # An attempt that had begun before comes to a good end.
            well = Noted(outcome="delivered", attempt={}, origin="well")
            assert await due.note([(first, well)]) == [True]

            assert len(await due.claim(8, 0, 8)) == 2

    asyncio.run(mending())


def test_a_pause_that_a_host_asked_for_is_kept_though_another_answer_of_it_is_well(
    server: Any, redis_url: str
) -> None:
    events = [tell(server, "http://127.0.0.1:9/", f"{at}") for at in range(3)]
    origin = events[0].origin

    async def pausing() -> None:
        async with due_events(redis_url) as due:
            first, second = await due.claim(2, 0, 8)
            busy = Noted(outcome="again", attempt={}, delay=30, origin="trouble", pause=30)
            well = Noted(outcome="delivered", attempt={}, origin="well")
            assert await due.note([(first, busy), (second, well)]) == [True, True]

            assert await due.claim(8, 0, 8) == []
            failures, till = server.hget(keys.TROUBLE, origin).split(":")
            assert failures == "0"
            # It is no longer than it was asked for.
            server.hset(keys.TROUBLE, origin, f"0:{float(till) - 60}")
            server.zadd(keys.ORIGINS, {origin: 0})
            assert [each.id for each in await due.claim(8, 0, 8)] == [events[2].id]

    asyncio.run(pausing())


@pytest.mark.parametrize(("status", "end"), [(200, "delivered"), (410, "dead")])
def test_no_header_changes_what_an_answer_says(
    server: Any, redis_url: str, status: int, end: str
) -> None:
    answer = Reply(status, {"retry-after": "Mon, 01 Jan 99999999999 00:00:00 GMT"})
    with receiver(lambda _: answer) as here, running(redis_url):
        event = tell(server, here.url)
        until(lambda: attempts(server, event))

    assert (state(server, event), len(here.got)) == (end, 1)


def test_what_a_courier_leaves_behind_is_another_ones_when_its_lease_lapses(
    server: Any, redis_url: str
) -> None:
    async def claim() -> list[Leased]:
        async with due_events(redis_url, lease=1.0) as due:
            return await due.claim(8, 0, 8)

    async def note_too_late() -> list[bool]:
        async with due_events(redis_url) as due:
            return await due.note([(leased, Noted(outcome="again", attempt={}, delay=1.0))])

    with receiver() as here:
        event = tell(server, here.url)
        # It dies between taking the event and noting what became of it.
        [leased] = asyncio.run(claim())
        with running(redis_url):
            until(lambda: state(server, event) == "delivered")

        # What it says too late changes nothing.
        assert asyncio.run(note_too_late()) == [False]
    assert state(server, event) == "delivered"
    assert len(attempts(server, event)) == 1


def test_what_has_waited_for_days_is_given_up_and_what_is_over_forgotten(
    server: Any, redis_url: str
) -> None:
    event, over = tell(server, "http://127.0.0.1:9/"), tell(server, "http://127.0.0.1:9/", "over")
    server.zadd(keys.PENDING, {event.id: 1})
    server.zadd(keys.DELIVERED, {over.id: 1})
    server.zrem(keys.PENDING, over.id)
    server.delete(keys.event(over.id))

    async def sweep() -> int:
        async with due_events(redis_url) as due:
            return await due.sweep()

    async def claim() -> list[Leased]:
        async with due_events(redis_url) as due:
            return await due.claim(8, 0, 8)

    assert asyncio.run(sweep()) == 1
    assert record(server, event)["why"] == "given_up"
    assert 0 < server.ttl(keys.event(event.id)) <= 600
    assert server.zcard(keys.DELIVERED) == 0
    # The next claim finds nothing of either.
    assert asyncio.run(claim()) == []
    assert not server.exists(keys.ORIGINS)


@pytest.mark.parametrize("answer", [204, 410])
def test_an_event_of_a_deleted_job_is_delivered_and_then_forgotten(
    server: Any, redis_url: str, answer: int
) -> None:
    with receiver(lambda _: Reply(answer)) as here, running(redis_url):
        server.set(keys.deleted("j"), "1")
        event = tell(server, here.url)
        until(lambda: not server.exists(keys.event(event.id)))

    assert [posted.id for posted in here.got] == [event.id]
    assert not server.exists(keys.attempts(event.id))
    for index in (keys.PENDING, keys.DELIVERED, keys.DEAD_EVENTS):
        assert not server.zcard(index)
    assert not server.exists(keys.due(event.origin), keys.again(event.origin))
    assert server.zcard(keys.DISABLED) == (answer == 410)


def test_an_event_is_told_once_however_often_its_job_ends(server: Any) -> None:
    event = tell(server, "http://127.0.0.1:9/")

    assert server.eval(outbox.TELL, 1, keys.result("j"), *outbox.fields(event)) == 0
    server.set(keys.result("k"), "x")
    assert server.eval(outbox.TELL, 1, keys.result("k"), *outbox.fields(event)) == 0


def test_secrets_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    settings = Settings(webhook_secrets=tmp_path / "secrets.json")
    courier, operator = Secrets(settings), Secrets(settings)

    assert courier.keys("shop") == []
    first = operator.add("shop")
    assert courier.keys("shop") == [signature.key_of(first)]
    second = operator.add("shop")
    assert courier.keys("shop") == [signature.key_of(second), signature.key_of(first)]
    assert operator.retire("shop") == 1
    assert courier.keys("shop") == [signature.key_of(second)]
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0
