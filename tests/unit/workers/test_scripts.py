"""The Lua scripts on a real Redis: atomic, fair, and blind to what others hold."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, product
from typing import Any

import pytest
import redis
from kombu import Connection

from stoker_config import keys
from stoker_config.keys import PRIORITY_STEPS as STEPS
from stoker_config.lapsed import COUNT_SECONDS
from stoker_config.settings import Settings
from stoker_workers.app import make_worker_app
from stoker_workers.broker.leases import give_back_doubted, give_back_lapsed, give_back_marked
from stoker_workers.broker.ledger import Ledger, Return
from stoker_workers.broker.scripts import CLAIM, LAPSED, LONG
from stoker_workers.broker.transport import ALIAS
from stoker_workers.engine.turns import EVERY
from tests.support.until import until

STOCK = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
LISTS = ["q", "q\x06\x163", "q\x06\x166", "q\x06\x169"]


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def fill(server: Any, key: str, count: int, word: str = "m") -> None:
    for at in range(count):
        server.lpush(key, json.dumps({"body": f"{word}{at}", "properties": {}}))


def fill_jobs(server: Any, *ids: str) -> None:
    for job in ids:
        message = {"body": "", "headers": {"id": job}, "properties": {"delivery_info": {}}}
        server.lpush("q", json.dumps(message))


def claim(server: Any, limit: int, prefix: str = "t.") -> list[tuple[int, str]]:
    flat = server.eval(
        CLAIM, 2 + len(LISTS), "index", "table", *LISTS, limit, prefix, limit // 10,
        *(json.dumps("q") for _ in LISTS),
    )  # fmt: skip
    return [(at, json.loads(text)["body"]) for at, text in zip(flat[::2], flat[1::2], strict=True)]


def ledger(server: Any, lease: float = 60.0) -> Ledger:
    return Ledger(server, "index", "table", lease)


@pytest.fixture(autouse=True)
def _no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    # A thread that renewed leases would outlive the test, and its server.
    monkeypatch.setattr(Ledger, "_run", lambda _: None)


def test_a_claim_takes_in_order_of_arrival_and_registers_what_it_takes(server: Any) -> None:
    fill(server, "q", 5)

    assert claim(server, 3) == [(0, "m0"), (0, "m1"), (0, "m2")]
    assert server.llen("q") == 2
    assert sorted(server.zrange("index", 0, -1)) == [b"t.1", b"t.2", b"t.3"]
    message, exchange, queue = json.loads(server.hget("table", "t.2"))
    assert (message["body"], exchange, queue) == ("m1", "", "q")


def test_of_a_long_list_a_claim_takes_the_end_without_a_walk_from_its_head(server: Any) -> None:
    texts = [json.dumps({"body": f"m{at}"}) for at in range(LONG)]
    server.lpush("q", *texts)
    server.config_resetstat()

    assert claim(server, 3) == [(0, "m0"), (0, "m1"), (0, "m2")]
    assert server.llen("q") == LONG - 3
    assert claim(server, 2, "u.") == [(0, "m3"), (0, "m4")]  # the list is short by now
    calls = {name: stat["calls"] for name, stat in server.info("commandstats").items()}
    is_old = int(server.info("server")["redis_version"].split(".")[0]) < 7
    assert "cmdstat_lrange" not in calls
    assert calls["cmdstat_rpop"] == (3 + 1 if is_old else 1 + 1)


def test_what_is_claimed_takes_memory_once(server: Any) -> None:
    def taken() -> int:
        return sum(server.memory_usage(key, samples=0) or 0 for key in ("q", "index", "table"))

    fill(server, "q", 20, "m" * 100_000)
    waiting = taken()
    claim(server, 20)

    assert waiting > 20 * 100_000
    assert taken() < 1.1 * waiting


def test_an_empty_claim_writes_nothing(server: Any) -> None:
    assert claim(server, 10) == []
    assert server.keys("*") == []


def test_higher_priorities_come_first_and_each_lower_one_gets_its_tenth(server: Any) -> None:
    for key in LISTS:
        fill(server, key, 100)

    taken = claim(server, 50)

    assert [at for at, _ in taken] == sorted(at for at, _ in taken)
    assert [sum(at == which for at, _ in taken) for which in range(4)] == [35, 5, 5, 5]


def test_a_priority_that_is_alone_gets_all(server: Any) -> None:
    fill(server, LISTS[2], 100)

    assert len(claim(server, 50)) == 50


def test_what_is_given_back_is_served_first_in_its_old_order_unchanged(server: Any) -> None:
    fill(server, "q", 1200)
    before = server.lrange("q", 0, -1)
    taken = len(claim(server, 1000))
    held = ledger(server)
    tags = [f"t.{at + 1}" for at in range(taken)]
    held.claimed(dict.fromkeys(tags, "q"))

    assert held.give_back(tags) == 1000
    assert server.lrange("q", 0, -1) == before
    assert server.zcard("index") == server.hlen("table") == held.count() == 0


def test_what_rests_goes_back_with_the_next_heartbeat(server: Any) -> None:
    fill(server, "q", 2)
    claim(server, 2)
    held = ledger(server)
    held.claimed({"t.1": "q", "t.2": "q"})
    held.rest(["t.1", "of another"])

    held.give_back_soon(["t.1", "t.2"])
    assert (server.llen("q"), server.hkeys("table")) == (1, [b"t.1"])
    held.pulse()

    assert (server.llen("q"), held.count()) == (2, 0)


def test_a_late_return_or_acknowledgement_touches_nobody_elses_delivery(server: Any) -> None:
    fill(server, "q", 1)
    claim(server, 1, "early.")
    early = ledger(server)
    early.claimed({"early.1": "q"})
    assert early.restore([Return("early.1", "q")]) == 1  # another worker found it lapsed
    claim(server, 1, "late.")

    early.acknowledge(["early.1"])
    assert early.restore([Return("early.1", "q")]) == 0

    assert server.llen("q") == 0
    assert server.hkeys("table") == [b"late.1"]
    assert server.zrange("index", 0, -1) == [b"late.1"]


def test_what_ran_when_its_holder_fell_silent_waits_again_and_its_death_counts_once(
    server: Any,
) -> None:
    fill_jobs(server, "ran", "waited")
    claim(server, 2)
    server.zadd("index", {"t.1": 1, "t.2": 1})
    server.zadd(keys.RUNNING, {"ran": 5})

    for _ in range(2):
        give_back_lapsed(ledger(server), 60.0, 3600.0, lambda _, key: [key])

    assert server.llen("q") == 2
    assert server.zcard(keys.RUNNING) == 0
    assert (server.get(keys.deaths("ran")), server.get(keys.starts("ran"))) == (b"1", b"1")
    assert not server.exists(keys.deaths("waited"), keys.starts("waited"))
    assert (server.get(keys.beside("waited")), server.exists(keys.beside("ran"))) == (b"1", 0)
    assert 0 < server.ttl(keys.beside("waited")) <= COUNT_SECONDS


def test_what_a_living_worker_gives_back_was_beside_no_death(server: Any) -> None:
    fill_jobs(server, "doubted", "marked")
    claim(server, 2)
    held = ledger(server)
    held.doubt(["t.1"])
    held.claimed({"t.2": "q"})

    give_back_doubted(held, lambda _, key: [key])
    give_back_marked(held, ["t.2"], lambda _, key: [key])

    assert server.llen("q") == 2
    assert not server.exists(keys.beside("doubted"), keys.beside("marked"))


def test_a_beat_renews_what_is_held_and_revives_nothing(server: Any) -> None:
    fill(server, "q", 2)
    claim(server, 2)
    held = ledger(server)
    held.claimed({"t.1": "q", "t.2": "q"})
    server.zadd("index", {"t.1": 1, "t.2": 1})
    server.zrem("index", "t.2")
    assert server.eval(LAPSED, 2, "index", "table", 60, 3600, 10)[0] == b"t.1"

    held.beat()

    assert server.eval(LAPSED, 2, "index", "table", 60, 3600, 10) == []
    assert server.zrange("index", 0, -1) == [b"t.1"]


def test_a_lost_connection_gives_back_only_what_is_not_worked_on(server: Any) -> None:
    fill(server, "q", 3)
    claim(server, 3)
    held = ledger(server)
    held.claimed({"t.1": "q", "t.2": "q", "t.3": "q"})
    held.working("t.2")

    held.connection_lost(["t.1", "t.2", "t.3"])

    assert [held.holds(tag) for tag in ("t.1", "t.2", "t.3")] == [False, True, False]
    assert server.hkeys("table") == [b"t.2"]
    assert server.llen("q") == 2


def test_acknowledgements_wait_while_the_server_is_away(server: Any) -> None:
    fill(server, "q", 2)
    claim(server, 2)

    class Away:
        def register_script(self, text: str) -> Any:
            return server.register_script(text)

        def pipeline(self, transaction: bool) -> Any:
            raise redis.ConnectionError("away")

    held = Ledger(Away(), "index", "table", 60.0)
    held.claimed({"t.1": "q", "t.2": "q"})
    held.acknowledge_soon("t.1")
    held.flush()
    assert held.holds("t.1")

    held.client = server
    held.flush()

    assert not held.holds("t.1")
    assert server.hkeys("table") == [b"t.2"]


def test_a_stock_workers_delivery_lapses_by_kombus_timeout_not_by_the_lease(server: Any) -> None:
    now = server.time()[0]
    held = {STOCK: now - 100, "worker-0123456789ab.1.1": now - 100, "worker-0123456789ab.1.2": now}
    server.zadd("index", held)
    server.hset("table", mapping=dict.fromkeys(held, "text"))

    def lapsed() -> list[bytes]:
        return list(server.eval(LAPSED, 2, "index", "table", 60, 3600, 10))

    assert lapsed() == [b"worker-0123456789ab.1.1"]
    server.zadd("index", {STOCK: now - 4000})
    assert sorted(lapsed()) == [STOCK.encode(), b"worker-0123456789ab.1.1"]


@pytest.mark.parametrize("transport", ["stoker", "stock"])
@pytest.mark.parametrize(("timeout", "back"), [(3600, 1), (7200, 0)])
def test_how_long_a_stock_worker_has_is_a_setting_of_both_transports(
    server: Any, redis_url: str, transport: str, timeout: int, back: int
) -> None:
    fill_jobs(server, "held")
    server.hset("unacked", STOCK, b"[" + server.rpop("q") + b', "", "q"]')
    server.zadd("unacked_index", {STOCK: server.time()[0] - 4000})
    given = {"redis_url": redis_url, "transport": transport, "visibility_timeout": timeout}

    app = make_worker_app(Settings.model_validate(given))
    with app, app.connection_for_read() as connection:
        connection.default_channel.qos.restore_visible()

    assert (server.llen("q"), server.hlen("unacked")) == (back, 1 - back)


def test_many_stock_deliveries_hide_no_lapsed_one(server: Any) -> None:
    now = server.time()[0]
    many = {f"{at:08d}-0000": now - 200 for at in range(3000)}
    server.zadd("index", {**many, "worker-0123456789ab.1.1": now - 100})
    server.hset("table", mapping=dict.fromkeys([*many, "worker-0123456789ab.1.1"], "text"))

    assert server.eval(LAPSED, 2, "index", "table", 60, 3600, 10)[0] == b"worker-0123456789ab.1.1"


def test_two_threads_that_flush_at_once_forget_no_acknowledgement(server: Any) -> None:
    class Slow:
        """A server that lets another acknowledgement come in while it answers."""

        def __init__(self) -> None:
            self.during: list[str] = ["t.3"]

        def register_script(self, text: str) -> Any:
            return server.register_script(text)

        def pipeline(self, transaction: bool) -> Any:
            for tag in self.during:
                held.acknowledge_soon(tag)
                self.during = []
                threading.Thread(target=held.flush).start()
                time.sleep(0.05)
            return server.pipeline(transaction=transaction)

    fill(server, "q", 3)
    claim(server, 3)
    held = Ledger(Slow(), "index", "table", 60.0)
    held.claimed(dict.fromkeys(("t.1", "t.2", "t.3"), "q"))
    held.acknowledge_soon("t.1")
    held.acknowledge_soon("t.2")
    held.flush()
    until(lambda: not held.count())

    assert server.hlen("table") == 0


def waiting_in(server: Any, queues: Sequence[str], steps: Sequence[int], count: int) -> None:
    """Fill the lists of some queues and priorities."""
    for queue in queues:
        for step in steps:
            headers = {"list": [queue, step]}
            message = {"body": "", "headers": headers, "properties": {"delivery_info": {}}}
            server.lpush(keys.queue(queue, step, STEPS), *[json.dumps(message)] * count)


def claims(redis_url: str, queues: Sequence[str], limit: int, count: int) -> list[Counter[Any]]:
    """Let a channel of a worker's claim, and tell how much of each list each claim took."""
    url = f"{ALIAS}+socket://{redis_url.removeprefix('unix://')}"
    options = {"queue_order_strategy": "priority", "claim_limit": limit}
    taken: list[Counter[Any]] = [Counter() for _ in range(count)]
    last = 0

    def take(message: Any) -> None:
        nonlocal last
        last = int(message.delivery_tag.split(".")[-2])
        if last <= count:
            taken[last - 1][tuple(message.headers["list"])] += 1

    with Connection(url, transport_options=options) as connection:
        channel = connection.channel()
        for queue in queues:
            channel.basic_consume(queue, False, take, queue)
        while last < count:
            connection.drain_events(timeout=5)
    return taken


@pytest.mark.parametrize(
    ("queues", "steps", "limit"),
    [
        *((1, steps, 8) for size in (2, 3, 4) for steps in combinations(STEPS, size)),
        (1, STEPS, 1),
        (1, STEPS, 10),
        (2, STEPS, 3),
        (3, (0, 3, 6), 9),
        (4, STEPS, 12),  # A claim that could leave a tenth, though not to each of sixteen lists.
        (4, STEPS, 16),
    ],
    ids=str,
)
def test_every_list_with_a_backlog_is_served_in_time_and_the_highest_most(
    server: Any, redis_url: str, queues: int, steps: tuple[int, ...], limit: int
) -> None:
    names = [f"q{at}" for at in range(queues)]
    lower = queues * (len(steps) - 1)
    bound = EVERY * lower
    waiting_in(server, names, steps, 2 * bound * limit)

    taken = claims(redis_url, names, limit, 2 * bound)

    for each in product(names, steps):
        turns = [0, *(at for at, claim in enumerate(taken, 1) if claim[each]), len(taken)]
        assert max(later - turn for turn, later in pairwise(turns)) <= bound
    total: Counter[Any] = sum(taken, Counter())
    highest = [total[name, steps[0]] for name in names]
    assert sum(highest) >= 0.9 * total.total() if limit < 10 else all(highest)
    assert max(highest) <= 1.3 * min(highest)


@pytest.mark.parametrize("queues", [2, 3, 9, 10])
def test_each_queue_is_the_first_of_as_many_small_claims_as_any_other(
    server: Any, redis_url: str, queues: int
) -> None:
    names = [f"q{at}" for at in range(queues)]
    waiting_in(server, names, (0, 9), EVERY * queues)

    taken = claims(redis_url, names, 1, EVERY * queues)

    total: Counter[Any] = sum(taken, Counter())
    for step in (0, 9):
        counts = [total[name, step] for name in names]
        assert max(counts) - min(counts) <= 1
