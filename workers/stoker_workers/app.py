"""Start here: `celery -A stoker_workers.app worker` wires a worker from its rooms.

Torch and transformers are imported when a worker starts, not when this module is: so
`celery -A stoker_workers.app inspect …` stays quick.
"""

import ssl
from importlib.util import find_spec
from typing import Any

from celery import Celery, signals

from stoker_config.app import make_app
from stoker_config.logs import set_up
from stoker_config.settings import Settings, load_settings
from stoker_config.stores import open_store
from stoker_tasks.catalog import CATALOG
from stoker_workers.broker.backend import CollectingBackend
from stoker_workers.broker.consumer import JobConsumer
from stoker_workers.broker.request import hide_arguments
from stoker_workers.broker.step import Engine, MakeEngine, engine_step
from stoker_workers.broker.tasks import register
from stoker_workers.broker.transport import ALIAS
from stoker_workers.engine.budgets import Budgets
from stoker_workers.engine.delivery import Outlet
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.inputs import Inputs
from stoker_workers.engine.model import ModelKey, WarmModel
from stoker_workers.engine.probe import probe
from stoker_workers.engine.served import ServedModels, parse_preload
from stoker_workers.engine.window import Budget
from stoker_workers.outside.addresses import Guard


def make_worker_app(settings: Settings, make: MakeEngine | None = None) -> Celery:
    """Make the app of a worker: the shared app, its tasks, and the engine's bootstep.

    Args:
        settings: The worker's settings.
        make: Builds the engine; `make_engine` if absent.
    """
    backend = f"{CollectingBackend.__module__}:{CollectingBackend.__name__}"
    # Celery splits a backend's URL at its first plus sign.
    url = settings.celery_redis.removeprefix("redis+")
    app = make_app(
        settings,
        result_backend=f"{backend}+{url}",
        worker_consumer=f"{JobConsumer.__module__}:{JobConsumer.__name__}",
        worker_pool="threads",
        worker_concurrency=1,
        worker_prefetch_multiplier=settings.prefetch,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_soft_shutdown_timeout=0,
        **broker_conf(settings),
    )
    register(app)
    app.steps["worker"].add(engine_step(settings, make or make_engine))
    signals.setup_logging.connect(lambda **_: set_up(settings), weak=False)
    signals.before_task_publish.connect(hide_arguments, weak=False)
    return app


def broker_conf(settings: Settings) -> dict[str, Any]:
    """Give the Celery settings that choose how this worker takes messages."""
    if settings.transport == "stock":
        return {}
    options = {
        **make_app(settings).conf.broker_transport_options,
        "visibility_timeout": settings.lease,
        "unacked_restore_interval": min(5.0, settings.lease / 3),
    }
    if settings.worker_id:
        options["worker_id"] = settings.worker_id
    # A socket's URL names its transport itself.
    if settings.redis.startswith("unix://"):
        url = f"{ALIAS}+{settings.celery_redis.removeprefix('redis+')}"
        return {"broker_url": url, "broker_transport_options": options}
    conf = {"broker_transport": ALIAS, "broker_transport_options": options}
    if settings.redis.startswith("rediss://"):
        conf["broker_use_ssl"] = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return conf


def make_engine(settings: Settings, outlet: Outlet, client: Any) -> Engine:
    """Build the engine of a worker: its device, its models and its stages."""
    from stoker_workers.engine.warm import WarmModels
    from stoker_workers.models.catalog import load
    from stoker_workers.models.device import find_device
    from stoker_workers.outside.buckets import S3Buckets
    from stoker_workers.outside.connection import Outside
    from stoker_workers.outside.files import Files

    device = find_device(settings.device)
    pinned = parse_preload(settings.preload)
    defaults = {key.task: key for key in reversed(pinned)}
    budgets = Budgets(
        Budget(
            tokens=settings.batch_tokens or device.batch_tokens,
            rows=settings.batch_rows,
            window=settings.window,
            overhead=device.overhead_tokens,
        ),
        settings.cache_dir / "budgets.json",
    )

    def load_and_probe(key: ModelKey) -> WarmModel:
        model = load(key, device)
        # Only a model that is there from the start finds the device idle.
        if key in pinned and not settings.batch_tokens:
            name = f"{key.task} {model.name} {device.description}"
            budgets.learn(key, name, lambda: probe(model.forward, model.sample))
        return model

    warm = WarmModels(load_and_probe, settings.warm_models)
    store = open_store(settings, client)
    store.check()
    files = Files(
        Outside(Guard(settings.allowed_networks)),
        S3Buckets(settings, settings.input_buckets),
        limit=settings.fetch_limit,
        seconds=settings.fetch_timeout,
    )
    served = ServedModels(warm.get, defaults, settings.models)
    return Engine(
        flow=Flow(served, Inputs(store, files.fetch), outlet, budgets.of),
        preload=lambda: warm.preload(pinned),
        tasks=tuple(
            name for name, spec in CATALOG.items() if all(find_spec(each) for each in spec.needs)
        ),
        defaults={task: key.model for task, key in defaults.items()},
        models=settings.models,
        warm=lambda: tuple(sorted({key.model for key in warm.loaded()})),
        device=device.name,
    )


app = make_worker_app(load_settings())
