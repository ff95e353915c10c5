"""An engine that serves a model without weights."""

from functools import partial
from typing import Any

from stoker_config.settings import Settings
from stoker_tasks.catalog import CATALOG
from stoker_workers.broker.step import Engine, MakeEngine
from stoker_workers.engine.delivery import Outlet
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.payloads import Payloads
from stoker_workers.engine.window import Budget
from tests.doubles.model import FakeModel, FakeModels


def serving(model: FakeModel) -> MakeEngine:
    """Give what builds an engine that runs all jobs on this model."""
    return partial(_make_engine, model)


def _make_engine(model: FakeModel, settings: Settings, outlet: Outlet, client: Any) -> Engine:
    payloads = Payloads.open(settings, client)
    budget = Budget(
        tokens=settings.batch_tokens or 1024, rows=settings.batch_rows, window=settings.window
    )
    return Engine(
        flow=Flow(FakeModels(model), payloads, outlet, lambda _: budget),
        preload=lambda: None,
        tasks=tuple(CATALOG),
        defaults=dict.fromkeys(CATALOG, "fake"),
        models=settings.models,
        warm=lambda: ("fake",),
        device="fake",
    )
