"""How long a caller waits: alone, and under a load that does not wait for answers."""

import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain
from statistics import median
from typing import Any, Final

from redis import Redis

from benchmarks.celery_services import CeleryService, plain
from benchmarks.corpora import mixes
from benchmarks.figures import Figure, percentile
from benchmarks.offline_process import offline
from benchmarks.options import Options
from benchmarks.report import Report, Row
from benchmarks.services import Bench, Service
from benchmarks.stoker_service import Stoker
from stoker.demo.models import embedding_model
from stoker_config import keys

_METHOD: Final = (
    "unloaded: one job after another, from before it is submitted until the client has its result, "
    "beyond the text's bare forward pass; load: arrivals by Poisson, from the time at which each "
    "was due until its result was published; each round has its own percentiles"
)
# Of what plain Celery can do with the same texts; both systems get the same absolute rates.
_LOADS: Final = (0.2, 0.5, 0.8)
_BARE_REPEATS: Final = 5
# Seconds between two jobs, so that the system is idle when the next one comes.
_PAUSE: Final = 0.01
_LOST_SECONDS: Final = 30.0
_MS: Final = 1000.0
# The waits of each round, in seconds, by case and system.
_Found = dict[tuple[str, Service], list[list[float]]]


def run(bench: Bench, options: Options) -> Report:
    """Measure both kinds of latency, of Stoker and of plain Celery."""
    model = str(options.model or embedding_model(bench.cache, time.sleep))
    mixed, short, _ = mixes(max(options.texts, options.unloaded), options.seed)
    texts = short.first(options.unloaded)
    with offline(bench, model) as process:
        bare = [median(seconds) for seconds in process.bare(texts, _BARE_REPEATS)]
    idle = (plain(bench, None), Stoker(bench, None))
    # Celery first: its capacity says under which load both are put, in all rounds.
    busy = (plain(bench, model), Stoker(bench, model))
    capacity: dict[str, float] = {}
    found: _Found = defaultdict(list)
    for number in range(options.rounds):
        for service in idle:
            with service.running():
                found["unloaded, no-op", service].append(_one_by_one(service, texts))
        for service in busy:
            with service.running():
                waits = _one_by_one(service, texts)
                beyond = [wait - forward for wait, forward in zip(waits, bare, strict=True)]
                found["unloaded, MiniLM", service].append(beyond)
                if service.name not in capacity:
                    capacity[service.name] = _capacity(service, mixed.first(options.texts))
                for share in _LOADS:
                    due = schedule(options, number, share * capacity["plain Celery"])
                    waits = _under_load(bench, service, mixed.texts, due, number)
                    found[_case(share), service].append(waits)
    return _report(found, capacity)


def _case(share: float) -> str:
    return f"{share:.0%} of Celery's capacity"


def _report(found: _Found, capacity: dict[str, float]) -> Report:
    notes = {_case(share): f"{share * capacity['plain Celery']:.1f} jobs/s" for share in _LOADS}
    rows: list[Row] = []
    together: dict[str, dict[str, float]] = {}
    for (case, service), rounds in found.items():
        rows.append(
            Row(
                case=case,
                system=service.name,
                setting=service.setting,
                figures=waited(rounds),
                note=notes.get(case, ""),
            )
        )
        waits = list(chain.from_iterable(rounds))
        figures = {name: figure.median for name, figure in waited([waits]).items()}
        together[f"{case}, {service.name}"] = {"jobs": len(waits), **figures}
    rows.sort(key=lambda row: (not row.case.startswith("unloaded"), row.case, row.system))
    data = {"capacity": capacity, "all rounds together": together}
    return Report(suite="latency", method=_METHOD, rows=rows, data=data)


def schedule(options: Options, number: int, rate: float) -> list[float]:
    """Say when each job of a round is due, in seconds from its begin; the same for all systems.

    Args:
        options: How many arrivals all rounds have together at least, and the seed.
        number: Of the round.
        rate: Arrivals a second.
    """
    lot = random.Random(f"{options.seed} {number}")
    gaps = (lot.expovariate(rate) for _ in range(math.ceil(options.arrivals / options.rounds)))
    return list(accumulate(gaps))


def waited(rounds: Sequence[Sequence[float]]) -> Mapping[str, Figure]:
    """Give the percentiles of each round's waits, which are in seconds."""
    return {
        name: Figure(tuple(_MS * percentile(each, share) for each in rounds), "ms")
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


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
    begins: Sequence[float],
    number: int,
) -> list[float]:
    """Submit a round's texts by its schedule; gives each job's time in the system.

    Time counts from when a job was due, not from when it was sent: a producer that falls behind
    must not hide what it made jobs wait.
    """
    with _published(bench) as stamps:
        due: dict[str, float] = {}
        begin = time.time() + 0.1
        # Each round goes on where the one before ended.
        for place, after in enumerate(begins, number * len(begins)):
            at = begin + after
            time.sleep(max(0.0, at - time.time()))
            due[service.send(texts[place % len(texts)])] = at
        deadline = time.monotonic() + _LOST_SECONDS
        while len(due.keys() - stamps.keys()) and time.monotonic() < deadline:
            time.sleep(0.05)
    lost = len(due.keys() - stamps.keys())
    if lost:
        raise RuntimeError(f"{service.name}: {lost} of {len(begins)} jobs had no result")
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
