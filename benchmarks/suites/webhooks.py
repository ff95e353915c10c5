"""Jobs with webhooks, and a receiver that often fails: is each event delivered, and how soon?"""

import json
import math
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.peers.webhook_receiver import FAILS, HANGS
from benchmarks.report import Report, Row
from benchmarks.services import READY_SECONDS, Bench, clean_environment, module, python
from benchmarks.stoker_service import Stoker
from stoker.local.errors import NotReady
from stoker.local.ports import free_port
from stoker.local.processes import Process
from stoker_config import keys
from stoker_tasks.event import event_id
from stoker_tasks.signature import new_secret
from stoker_tasks.webhook import Webhook

_METHOD: Final = (
    f"no-op jobs whose end is told to one local receiver, which answers {FAILS:.0%} of what is "
    f"posted with 500 and {HANGS:.0%} never; the schedule's waits are skipped by moving due times, "
    "and the time-out is two seconds instead of fifteen; from the first submit until the last "
    "delivery"
)
_TIMEOUT: Final = 2.0
_MS: Final = 1000.0
_LOOK_SECONDS: Final = 0.25
# Longer than an origin in trouble is ever left alone.
_STALLED: Final = 150.0


def run(bench: Bench, options: Options) -> Report:
    """Deliver the events of many jobs."""
    secret, port = new_secret(), free_port()
    url = f"http://127.0.0.1:{port}/hook"
    timeout = _TIMEOUT / 4 if options.quick else _TIMEOUT
    service = Stoker(bench, None)
    with service.running():
        receiver = Process(
            "the receiver",
            module(
                python(), "benchmarks.peers.webhook_receiver", str(port), secret, str(options.seed)
            ),
            log=bench.folder / "receiver.log",
        )
        courier = Process(
            "the courier",
            module(python(), "stoker_workers", "webhooks"),
            environment={
                **clean_environment(),
                "STOKER_REDIS_URL": bench.server.url,
                "STOKER_WEBHOOK_SECRET": secret,
                "STOKER_WEBHOOK_TIMEOUT": str(timeout),
                "STOKER_ALLOWED_NETWORKS": "127.0.0.1",
                "STOKER_LOG_LEVEL": "warning",
            },
            log=bench.folder / "courier.log",
            grace=30.0,
        )
        try:
            _wait_until_ready(bench, url, receiver, courier)
            began = time.monotonic()
            jobs = [
                service.job(f"text {at}").model_copy(update={"webhook": Webhook(url=url)})
                for at in range(options.events)
            ]
            handles = service.client.submit_many(jobs, allow_unserved=True)
            stored = bench.server.wait([each.id for each in handles], bench.patience)
            _deliver(bench, options.events, courier)
            seconds = time.monotonic() - began
            got = _ask(url)
        finally:
            courier.stop()
            receiver.stop()
        events = [event_id(each.id, "job.completed") for each in handles]
        created = _created(bench, events)
    return _report(options, events, got, created, stored, seconds)


def _report(
    options: Options,
    events: Sequence[str],
    got: Mapping[str, Any],
    created: Mapping[str, float],
    stored: int,
    seconds: float,
) -> Report:
    found = got["events"]
    waits = sorted((found[each]["first"] - created[each]) * _MS for each in events if each in found)
    lost = sum(not found.get(each, {}).get("taken") for each in events)
    strange = len(found.keys() - set(events))
    differ = sum(len(each["bodies"]) != 1 for each in found.values())
    posted = sum(each["got"] for each in found.values())
    twice = sum(each["taken"] > 1 for each in found.values())
    wrong = {
        "results are missing": options.events - stored,
        "events were not delivered": lost,
        "signatures are not valid": got["invalid"],
        "IDs belong to no event": strange,
        "events had two bodies": differ,
    }
    figures = {
        "delivered": Figure((len(events) - lost,), "events", 0),
        "rate": Figure((len(events) / seconds,), "events/s", 0),
        "posted": Figure((posted / len(events),), "an event", 2),
        "taken twice": Figure((twice,), "events", 0),
        "first posted, median": Figure((_at(waits, 0.5),), "ms after its job's end", 0),
        "99 %": Figure((_at(waits, 0.99),), "ms", 0),
    }
    return Report(
        suite="webhooks",
        method=_METHOD,
        rows=[
            Row(
                case=f"{len(events):,} jobs",
                system="Stoker",
                setting="default but for the time-out",
                figures=figures,
            )
        ],
        problems=[f"{count} {words}" for words, count in wrong.items() if count],
        data={"invalid": got["invalid"], "lost": lost, "strange": strange, "seconds": seconds},
    )


def _deliver(bench: Bench, count: int, courier: Process) -> None:
    """Wait until all events are delivered, and let none wait for its next attempt."""
    redis = bench.server.client
    best, last = 0, time.monotonic()
    while (done := redis.zcard(keys.DELIVERED)) < count:
        courier.check()
        if done > best:
            best, last = done, time.monotonic()
        elif time.monotonic() - last > max(_STALLED, bench.patience):
            trouble = redis.hgetall(keys.TROUBLE)
            raise RuntimeError(
                f"{done} of {count} events were delivered, and no more for a while; origins in "
                f"trouble: {trouble}; the courier's last lines:\n{courier.tail()}"
            )
        for origin in redis.zrange(keys.ORIGINS, 0, -1):
            _skip_waits(redis, origin.decode())
        time.sleep(_LOOK_SECONDS)


def _skip_waits(redis: Any, origin: str) -> None:
    later = redis.zrangebyscore(keys.again(origin), time.time() + 1, "+inf")
    with redis.pipeline(transaction=False) as pipe:
        for event in later:
            pipe.hget(keys.event(event.decode()), "lease")
        leases = pipe.execute()
    waiting = {event: 1 for event, lease in zip(later, leases, strict=True) if not lease}
    if waiting:
        redis.zadd(keys.again(origin), waiting, xx=True)
        redis.zadd(keys.ORIGINS, {origin: 1}, lt=True)


def _created(bench: Bench, events: Sequence[str]) -> dict[str, float]:
    with bench.server.client.pipeline(transaction=False) as pipe:
        for event in events:
            pipe.hget(keys.event(event), "created")
        return {event: float(at or "nan") for event, at in zip(events, pipe.execute(), strict=True)}


def _ask(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _wait_until_ready(bench: Bench, url: str, receiver: Process, courier: Process) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        receiver.check()
        courier.check()
        try:
            _ask(url)
        except OSError:
            pass
        else:
            if bench.server.client.exists(keys.COURIER):
                return
        time.sleep(0.1)
    raise NotReady(f"the receiver or the courier was not ready within {READY_SECONDS:g} s")


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan
