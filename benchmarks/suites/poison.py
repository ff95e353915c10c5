"""One job in 32 cannot be read: how many of its neighbours fail with it."""

import random
from typing import Final

from benchmarks.celery_services import batches, plain
from benchmarks.environments import CELERY_BATCHES, Unavailable
from benchmarks.figures import Figure
from benchmarks.http_services import FRAMEWORKS, NOT_DURABLE, HttpService
from benchmarks.options import Options
from benchmarks.peers.model import POISON
from benchmarks.report import Report, Row, absent
from benchmarks.services import Bench, Service
from benchmarks.stoker_service import Stoker
from stoker.local.errors import NotReady, ProcessDied

_METHOD: Final = (
    "no-op jobs, of which one in 32, at a place drawn by lot, raises in the forward pass; "
    "innocent ones without the right answer count, whether failed or never answered"
)
_GROUP: Final = 32
INNOCENT: Final = "innocents lost"
GUILTY: Final = "guilty answered"


def run(bench: Bench, options: Options) -> Report:
    """Count innocent failures."""
    lot = random.Random(options.seed)
    texts: list[str] = []
    for trial in range(options.trials):
        guilty = lot.randrange(_GROUP)
        texts += [f"text {trial} {at} {POISON if at == guilty else 'fine'}" for at in range(_GROUP)]
    # A job that was lost has no end to wait for.
    bench = Bench(server=bench.server, folder=bench.folder, cache=bench.cache, patience=6.0)
    services: list[Service] = [Stoker(bench, None), plain(bench, None)]
    missing: list[Row] = []
    try:
        interpreter = CELERY_BATCHES.python(bench.cache, install=options.install)
        services.append(batches(bench, None, interpreter, batch=_GROUP, wait=0.5))
    except Unavailable as error:
        missing.append(Row(case="1 in 32", system=CELERY_BATCHES.name, note=str(error)))
    for framework in FRAMEWORKS:
        try:
            interpreter = framework.environment.python(bench.cache, install=options.install)
        except Unavailable as error:
            missing.append(Row(case="1 in 32", system=framework.name, note=str(error)))
        else:
            services.append(
                HttpService(bench, framework, interpreter, None, batch=_GROUP, wait=0.05)
            )
    rows = [*(_row(service, texts) for service in services), *missing]
    return Report(
        suite="poison",
        method=_METHOD,
        rows=rows,
        problems=absent(rows, install=options.install),
        data={"jobs": len(texts), "guilty": options.trials},
    )


def _row(service: Service, texts: list[str]) -> Row:
    try:
        with service.running():
            answers = service.answer(texts)
    except (NotReady, ProcessDied) as error:
        reason = "could not be started here: " + str(error).partition("\n")[0]
        return Row(case="1 in 32", system=service.name, setting=service.setting, note=reason)
    lost = guilty = 0
    for text, answer in zip(texts, answers, strict=True):
        right = answer.output == [{"label": text, "score": 1.0}]
        if POISON in text:
            guilty += right
        else:
            lost += not right
    innocents = sum(POISON not in text for text in texts)
    return Row(
        case="1 in 32",
        system=service.name,
        setting=service.setting,
        figures={
            INNOCENT: Figure((lost,), f"of {innocents}", 0),
            GUILTY: Figure((guilty,), f"of {len(texts) - innocents}", 0),
        },
        note="" if service.durable else NOT_DURABLE,
    )
