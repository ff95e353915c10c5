"""Start here: `celery -A stoker_workers.app worker` wires a worker from its rooms.

Torch and transformers are imported when a worker starts, not when this module is: so
`celery -A stoker_workers.app inspect …` stays quick.
"""

import ssl
import time
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from celery import Celery, signals

from stoker_config.app import make_app
from stoker_config.logs import set_up
from stoker_config.models_file import ModelEntry, read_models_file
from stoker_config.retention import Retention
from stoker_config.settings import Settings, load_settings
from stoker_tasks.catalog import CATALOG
from stoker_tasks.parts import install_words
from stoker_workers.broker import sentinel
from stoker_workers.broker.apart import SETTINGS, ApartBackend
from stoker_workers.broker.backend import CollectingBackend
from stoker_workers.broker.consumer import JobConsumer
from stoker_workers.broker.events import JobEvents
from stoker_workers.broker.request import hide_arguments
from stoker_workers.broker.sentinel import CollectingSentinelBackend
from stoker_workers.broker.step import Engine, MakeEngine, engine_step
from stoker_workers.broker.tasks import register
from stoker_workers.broker.transport import ALIAS
from stoker_workers.engine.budgets import Budgets
from stoker_workers.engine.control import ModelControl
from stoker_workers.engine.delivery import Outlet
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.payloads import Payloads
from stoker_workers.engine.probe import probe
from stoker_workers.engine.progress import Course, Progress
from stoker_workers.engine.served import ServedModels, parse_preload
from stoker_workers.engine.window import Budget
from stoker_workers.outside.addresses import Guard


def make_worker_app(settings: Settings, make: MakeEngine | None = None) -> Celery:
    """Make the app of a worker: the shared app, its tasks, and the engine's bootstep.

    Args:
        settings: The worker's settings.
        make: Builds the engine; `make_engine` if absent.
    """
    kind: type[CollectingBackend] = (
        CollectingSentinelBackend if settings.sentinels else CollectingBackend
    )
    if settings.apart:
        kind = ApartBackend
    backend = f"{kind.__module__}:{kind.__name__}"
    # Celery splits a backend's URL at its first plus sign.
    url = settings.of_results.celery_redis.removeprefix("redis+")
    app = make_app(
        settings,
        result_backend=f"{backend}+{url}",
        events=JobEvents,
        worker_consumer=f"{JobConsumer.__module__}:{JobConsumer.__name__}",
        worker_pool="threads",
        worker_concurrency=1,
        worker_prefetch_multiplier=settings.prefetch,
        worker_eta_task_limit=_most_held(settings),
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_soft_shutdown_timeout=0,
        **({SETTINGS: settings} if settings.apart else {}),
        **broker_conf(settings),
    )
    register(app, Retention(settings.result_expires, settings.retention_max))
    app.steps["worker"].add(engine_step(settings, make or make_engine))
    signals.setup_logging.connect(lambda **_: set_up(settings), weak=False)
    signals.before_task_publish.connect(hide_arguments, weak=False)
    return app


def _most_held(settings: Settings) -> int | None:
    """Say how many jobs a worker holds at most, those that wait for their time among them."""
    return None if settings.eta_limit is None else settings.prefetch + settings.eta_limit


def broker_conf(settings: Settings) -> dict[str, Any]:
    """Give the Celery settings that choose how this worker takes messages."""
    if settings.transport == "stock":
        return {}
    options = {
        **make_app(settings).conf.broker_transport_options,
        "lease": settings.lease,
        "unacked_restore_interval": min(5.0, settings.lease / 3),
    }
    if settings.worker_id:
        options["worker_id"] = settings.worker_id
    if settings.sentinels:
        return sentinel.conf(settings, options)
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
    from stoker_workers.models.catalog import load_in_steps
    from stoker_workers.models.device import find_device
    from stoker_workers.models.extensions import extended
    from stoker_workers.models.resolve import with_tasks
    from stoker_workers.models.trial import load_on_trial
    from stoker_workers.outside.buckets import S3Buckets
    from stoker_workers.outside.connection import Outside
    from stoker_workers.outside.files import Files

    device = find_device(settings.device)
    listing = read_models_file(settings.models_file)
    listed = {
        name: with_tasks(name, entry) for name, entry in listing.of_pool(settings.pool).items()
    }
    lacking = _lacking()
    budgets = Budgets(
        Budget(
            tokens=settings.batch_tokens or device.batch_tokens,
            rows=settings.batch_rows,
            window=settings.window,
            overhead=device.overhead_tokens,
        ),
        settings.cache_dir / "budgets.json",
    )

    def load_and_probe(key: ModelKey, progress: Progress) -> Course:
        entry = listed.get(key.listed) or ModelEntry(model=key.model)
        if progress.wary:
            yield from load_on_trial(key, device, entry, progress, settings.hang_timeout)
        model = yield from load_in_steps(key, device, entry, progress, settings.cache_dir)
        # Only a model that is there from the start finds the device idle.
        if key in served.preload and not settings.batch_tokens:
            progress.step("probing")
            name = f"{key.task} {model.name} {device.description}"
            computed = time.thread_time if device.kind == "cpu" else None
            budgets.learn(
                key,
                name,
                lambda: probe(model.forward, model.sample, least=budgets.floor, computed=computed),
            )
        return extended(model, entry.loading)

    share = settings.model_memory
    warm = WarmModels(
        load_and_probe,
        settings.warm_models,
        memory=int(share * device.memory()[1] if share <= 1 else share),
        free=device.free_memory,
        release=device.release_memory,
    )
    served = ServedModels(
        warm.get,
        preload=parse_preload(settings.preload),
        allowed=settings.models,
        listed=listed,
        only=listing.only,
        lacking=lacking,
    )
    warm.pin(served.pinned)
    files = Files(
        Outside(Guard(settings.allowed_networks)),
        S3Buckets(settings, settings.input_buckets),
        limit=settings.fetch_limit,
        seconds=settings.fetch_timeout,
    )
    makers = f"{device.description}, transformers {version('transformers')}, {listed!r}"
    flow = Flow(
        served,
        Payloads.open(settings, client, files.fetch, makers),
        outlet,
        lambda key: served.bound(key, budgets.of(key)),
        budgets.overflowed,
        settings.webhook_output_interval,
    )
    warm.charge(flow.owe)
    return Engine(
        flow=flow,
        preload=lambda: warm.preload(served.preload),
        load_trouble=warm.trouble,
        tasks=tuple(name for name in CATALOG if name not in lacking),
        defaults=served.defaults,
        models=served.allowed,
        warm=lambda: tuple(sorted({key.model for key in warm.loaded()})),
        device=device.name,
        control=ModelControl(served, warm),
    )


def _lacking() -> dict[str, str]:
    """Say for each task that cannot run here what would have to be installed."""
    missing = {
        name: [module for module in spec.needs if find_spec(module) is None]
        for name, spec in CATALOG.items()
    }
    return {name: install_words(modules) for name, modules in missing.items() if modules}


app = make_worker_app(load_settings())
