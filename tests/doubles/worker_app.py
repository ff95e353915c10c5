"""A Stoker worker that serves `FakeModel`: `celery -A tests.doubles.worker_app worker`."""

from typing import Any

from stoker_config.artifacts import RedisArtifacts
from stoker_config.settings import Settings, load_settings
from stoker_tasks.catalog import CATALOG
from stoker_workers.app import make_worker_app
from stoker_workers.broker.step import Engine
from stoker_workers.engine.delivery import Outlet
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.inputs import Inputs
from stoker_workers.engine.window import Budget
from tests.doubles.model import FakeModels


def make_engine(settings: Settings, outlet: Outlet, client: Any) -> Engine:
    store = RedisArtifacts(
        client,
        limit=settings.artifact_limit,
        capacity=settings.artifact_capacity,
        expires=settings.artifact_expires,
    )
    budget = Budget(
        tokens=settings.batch_tokens or 1024, rows=settings.batch_rows, window=settings.window
    )
    return Engine(
        flow=Flow(FakeModels(), Inputs(store), outlet, lambda _: budget),
        preload=lambda: None,
        tasks=tuple(CATALOG),
        defaults=dict.fromkeys(CATALOG, "fake"),
        models=settings.models,
        warm=lambda: ("fake",),
        device="fake",
    )


app = make_worker_app(load_settings(), make_engine)
