"""A worker that loads models before it serves them: `celery -A tests.doubles.loading_app worker`.

Each of them is `FakeModel`. Loading `lost` loses the device, and loading `hangs` never ends.
"""

import threading
from typing import Any

from stoker_config.settings import Settings, load_settings
from stoker_workers.app import make_worker_app
from stoker_workers.broker.step import Engine
from stoker_workers.engine.delivery import Outlet
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.payloads import Payloads
from stoker_workers.engine.progress import Course, Progress
from stoker_workers.engine.served import ServedModels, parse_preload
from stoker_workers.engine.warm import WarmModels
from stoker_workers.engine.window import Budget
from tests.doubles.model import FakeModel


def _load(key: ModelKey, _: Progress) -> Course:
    yield 1
    if key.model == "lost":
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if key.model == "hangs":
        threading.Event().wait()
    return FakeModel(key.model)


def _make_engine(settings: Settings, outlet: Outlet, client: Any) -> Engine:
    warm = WarmModels(_load, 9)
    served = ServedModels(warm.get, preload=parse_preload(settings.preload))
    return Engine(
        flow=Flow(served, Payloads.open(settings, client), outlet, lambda _: Budget(tokens=1024)),
        preload=lambda: warm.preload(served.preload),
        tasks=("text-classification",),
        defaults=served.defaults,
        models=(),
        warm=lambda: tuple(key.model for key in warm.loaded()),
        device="fake",
        load_trouble=warm.trouble,
    )


app = make_worker_app(load_settings(), _make_engine)
