"""How long a caller waits: alone, and under a load that does not wait for answers."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, Final

from redis import Redis

from benchmarks.celery_services import CeleryService, plain
from benchmarks.corpora import mixes
from benchmarks.figures import Figure, percentile
from benchmarks.offline_process import offline
from benchmarks.options import Options
from benchmarks.report import Report, Row
from benchmarks.services import Bench
from benchmarks.stoker_service import Stoker
from stoker.demo.models import embedding_model
from stoker_config import keys

_METHOD: Final = (
    "unloaded: one job after another, from before it is submitted until the client has its result, "
    "beyond the text's bare forward pass; load: arrivals by Poisson, from the time at which each "
    "was due until its result was published"
)
# Of what plain Celery can do with the same texts; both systems get the same absolute rates.
_LOADS: Final = (0.2, 0.5, 0.8)
_BARE_REPEATS: Final = 5
# Seconds between two jobs, so that the system is idle when the next one comes.
_PAUSE: Final = 0.01
_LOST_SECONDS: Final = 30.0
_MS: Final = 1000.0


def run(bench: Bench, options: Options) -> Report:
    """Measure both kinds of latency, of Stoker and of plain Celery."""
    model = str(options.model or embedding_model(bench.cache, time.sleep))
    mixed, short, _ = mixes(max(options.texts, options.unloaded), options.seed)
    texts = short.first(options.unloaded)
    with offline(bench, model) as process:
        bare = [median(seconds) for seconds in process.bare(texts, _BARE_REPEATS)]
    rows: list[Row] = []
    capacity: dict[str, float] = {}
    for service in (plain(bench, None), Stoker(bench, None)):
        with service.running():
            rows.append(_row("unloaded, no-op", service, _one_by_one(service, texts), ""))
    # Celery first: its capacity says under which load both are put.
    for service in (plain(bench, model), Stoker(bench, model)):
        with service.running():
            waits = _one_by_one(service, texts)
            beyond = [wait - forward for wait, forward in zip(waits, bare, strict=True)]
            rows.append(_row("unloaded, MiniLM", service, beyond, ""))
            capacity[service.name] = _capacity(service, mixed.first(options.texts))
            for share in _LOADS:
                rate = share * capacity["plain Celery"]
                waits = _under_load(bench, service, mixed.texts, rate, options)
                case = f"{share:.0%} of Celery's capacity"
                rows.append(_row(case, service, waits, f"{rate:.1f} jobs/s"))
    rows.sort(key=lambda row: (not row.case.startswith("unloaded"), row.case, row.system))
    return Report(suite="latency", method=_METHOD, rows=rows, data={"capacity": capacity})


def _capacity(service: Stoker | CeleryService, texts: Sequence[str]) -> float:
    began = time.time()
    answers = service.answer(texts)
    return len(answers) / (max(answer.done for answer in answers) - began)


def _one_by_one(service: Stoker | CeleryService, texts: Sequence[str]) -> list[float]:
    waits = []
    for text in texts:
        time.sleep(_PAUSE)
        began = time.perf_counter()
        service.once(text)
        waits.append(time.perf_counter() - began)
    return waits


def _under_load(
    bench: Bench,
    service: Stoker | CeleryService,
    texts: Sequence[str],
    rate: float,
    options: Options,
) -> list[float]:
    """Submit by a schedule that is the same for all systems; gives each job's time in the system.

    Time counts from when a job was due, not from when it was sent: a producer that falls behind
    must not hide what it made jobs wait.
    """
    lot = random.Random(options.seed)
    with _published(bench) as stamps:
        due: dict[str, float] = {}
        at = time.time() + 0.1
        for number in range(options.arrivals):
            at += lot.expovariate(rate)
            time.sleep(max(0.0, at - time.time()))
            due[service.send(texts[number % len(texts)])] = at
        deadline = time.monotonic() + _LOST_SECONDS
        while len(due.keys() - stamps.keys()) and time.monotonic() < deadline:
            time.sleep(0.05)
    lost = len(due.keys() - stamps.keys())
    if lost:
        raise RuntimeError(f"{service.name}: {lost} of {options.arrivals} jobs had no result")
    return [stamps[job] - when for job, when in due.items()]


@contextmanager
def _published(bench: Bench) -> Iterator[dict[str, float]]:
    """Note when each result is published, until the context ends."""
    stamps: dict[str, float] = {}
    prefix = keys.result("")

    def note(message: dict[str, Any]) -> None:
        stamps.setdefault(message["channel"].decode().removeprefix(prefix), time.time())

    client: Any = Redis.from_url(bench.server.url)
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.psubscribe(**{f"{prefix}*": note})
    over = threading.Event()

    def listen() -> None:
        while not over.is_set():
            listener.get_message(timeout=0.1)

    thread = threading.Thread(target=listen, name="listener")
    thread.start()
    try:
        yield stamps
    finally:
        over.set()
        thread.join()
        listener.close()
        client.close()


def _row(case: str, service: Any, seconds: Sequence[float], note: str) -> Row:
    return Row(
        case=case,
        system=service.name,
        setting=service.setting,
        figures={
            "p50": Figure((_MS * percentile(seconds, 0.5),), "ms"),
            "p99": Figure((_MS * percentile(seconds, 0.99),), "ms"),
        },
        note=note,
    )
