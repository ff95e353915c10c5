"""Who embeds texts: each system with the grid of its one setting that matters."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from benchmarks.celery_services import batches, plain
from benchmarks.environments import CELERY_BATCHES, Unavailable
from benchmarks.http_services import FRAMEWORKS, NOT_DURABLE, Framework, HttpService
from benchmarks.offline_process import Offline
from benchmarks.options import Options
from benchmarks.scan import Grid
from benchmarks.services import Answer, Bench, Service
from benchmarks.stoker_service import Stoker


@dataclass(frozen=True)
class Ran:
    """What became of texts that were handed over at once.

    Attributes:
        rate: Texts a second.
        answers: The answers, in the texts' order.
        idle: Seconds in which the device had work and did none; None if the system does not say.
    """

    rate: float
    answers: list[Answer]
    idle: float | None = None


Run = Callable[[Sequence[str]], Ran]

_ONE: Final = "no batch is smaller than one"
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64)
# With a full queue every batch fills at once, so that it hardly counts.
_WAIT: Final = 0.02
FIXED: Final = 32


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A system and what may be set.

    Attributes:
        name: What the table calls it.
        grid: The values of its setting; it has none if None.
        start: Runs it at a value: within the context, texts can be run.
        words: Says a value in words.
        also: A value that is measured beside the best one.
        note: What the table says of it.
        why_not: Why it cannot be run here; empty if it can.
        ours: Whether it is Stoker.
        ceiling: Whether it is what no system can be faster than.
    """

    name: str
    start: Callable[[float], AbstractContextManager[Run]]
    grid: Grid | None = None
    words: Callable[[float], str] = lambda value: f"batch {value:g}"
    also: float | None = None
    note: str = ""
    why_not: str = ""
    ours: bool = False
    ceiling: bool = False


def contenders(bench: Bench, options: Options, model: str, offline: Offline) -> list[Contender]:
    """List all systems, Stoker first."""
    sizes = (4,) if options.quick else _SIZES
    budgets = (1024,) if options.quick else (128, 256, 512, 1024, 2048, 4096)
    edge = "a quick run proves nothing" if options.quick else ""
    return [
        Contender(
            name="Stoker",
            start=lambda _: _serving(Stoker(bench, model)),
            words=lambda _: "default",
            ours=True,
        ),
        Contender(
            name="Stoker",
            start=lambda _: _serving(Stoker(bench, model, batch_rows=1)),
            words=lambda _: "one job a pass",
            ours=True,
        ),
        Contender(
            name="plain Celery",
            grid=Grid(
                name="prefetch",
                values=(1,) if options.quick else (1, 4, 16, 64),
                least="a worker takes one message at least",
                most=edge,
                further=() if options.quick else (256, 1024),
            ),
            start=lambda value: _serving(plain(bench, model, prefetch=value)),
            words=lambda value: f"pipeline per job, prefetch {value:g}",
        ),
        _celery_batches(bench, options, model, sizes, edge),
        *(_framework(bench, options, model, each, sizes, edge) for each in FRAMEWORKS),
        Contender(
            name="transformers.pipeline",
            grid=Grid(name="batch_size", values=sizes, least=_ONE, most=edge),
            start=lambda value: nullcontext(
                lambda texts: Ran(*offline.run("pipeline", texts, value))
            ),
            words=lambda value: f"batch_size {value:g}",
            note="no queue",
        ),
        Contender(
            name="offline optimum",
            grid=Grid(name="budget", values=budgets, most=edge, least=edge),
            start=lambda value: nullcontext(
                lambda texts: Ran(*offline.run("optimum", texts, value))
            ),
            words=lambda value: f"sorted, {value:g} tokens a pass",
            note="the ceiling: all texts known, no queue",
            ceiling=True,
        ),
    ]


def _celery_batches(
    bench: Bench, options: Options, model: str, sizes: Sequence[float], edge: str
) -> Contender:
    why_not = ""
    try:
        interpreter = CELERY_BATCHES.python(bench.cache, install=options.install)
    except Unavailable as error:
        why_not = str(error)
    return Contender(
        name="celery-batches",
        grid=Grid(name="flush_every", values=tuple(sizes), least=_ONE, most=edge),
        start=lambda value: _serving(
            batches(bench, model, interpreter, batch=value, wait=10 * _WAIT)
        ),
        words=lambda value: f"flush_every {value:g}, unsorted",
        also=sizes[-1] if options.quick else FIXED,
        why_not=why_not,
    )


def _framework(
    bench: Bench,
    options: Options,
    model: str,
    framework: Framework,
    sizes: Sequence[float],
    edge: str,
) -> Contender:
    why_not = ""
    try:
        interpreter = framework.environment.python(bench.cache, install=options.install)
    except Unavailable as error:
        why_not = str(error)
    return Contender(
        name=framework.name,
        grid=Grid(name="batch", values=tuple(sizes), least=_ONE, most=edge),
        start=lambda value: _serving(
            HttpService(bench, framework, interpreter, model, batch=value, wait=_WAIT)
        ),
        words=lambda value: f"batch {value:g}, wait {_WAIT:g} s",
        note=NOT_DURABLE,
        why_not=why_not,
    )


@contextmanager
def _serving(service: Service) -> Iterator[Run]:
    def run(texts: Sequence[str]) -> Ran:
        began = time.time()
        answers = service.answer(texts)
        last = max((answer.done for answer in answers), default=0.0)
        rate = len(texts) / (last - began) if last > began else 0.0
        return Ran(rate, answers, service.idle())

    with service.running():
        # What the warm-up left is nothing to the texts.
        service.idle()
        yield run
