"""The bootstep that puts the engine into a Celery worker, between its pool and its consumer."""

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
from celery import bootsteps
from celery.concurrency.solo import TaskPool as SoloPool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.exceptions import ImproperlyConfigured

from stoker_config import keys
from stoker_config.clock import ServerClock
from stoker_config.servers import connect, refuse_one_for_two, refuse_unfit
from stoker_config.serving import Registry, Serving
from stoker_config.settings import Settings
from stoker_tasks.errors import StokerError
from stoker_tasks.wire import pool_name
from stoker_workers.broker import commands
from stoker_workers.broker.announcer import Announcer
from stoker_workers.broker.hub import LoopCalls
from stoker_workers.broker.intake import Intake
from stoker_workers.broker.outlet import CeleryOutlet
from stoker_workers.broker.returning import count_starts, suspect
from stoker_workers.broker.transport import ledgers
from stoker_workers.broker.watchdog import Watchdog
from stoker_workers.engine.control import ModelControl
from stoker_workers.engine.delivery import Outlet
from stoker_workers.engine.faults import log_fault
from stoker_workers.engine.flow import Flow
from stoker_workers.exits import CONFIG

logger = logging.getLogger(__name__)

# Longer than any forward pass should take; what starts a worker gives it more before it kills.
_STOP_SECONDS: Final = 300.0
_TERMINATE_SECONDS: Final = 2.0
_COLLECT: Final = (50_000, 20, 20)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What a worker is made of, once its models are there.

    Attributes:
        flow: The stages.
        preload: Loads the models that are to be warm from the start, and waits for them.
        tasks: The tasks that it can run here.
        defaults: For each task, the model of jobs that name none.
        models: The only models it serves; any if empty.
        warm: Lists the models it has loaded now.
        device: The device's name.
        load_trouble: Says why no model can be loaded any more; None if it can. It is told the
            seconds after which a step of a load counts as hung.
        control: The models as an operator sees them, where they are of any interest.
    """

    flow: Flow
    preload: Callable[[], None]
    tasks: tuple[str, ...]
    defaults: dict[str, str]
    models: tuple[str, ...]
    warm: Callable[[], tuple[str, ...]]
    device: str
    load_trouble: Callable[[float], str | None] = lambda _: None
    control: ModelControl | None = None


MakeEngine = Callable[[Settings, Outlet, Any], Engine]


def engine_step(settings: Settings, make: MakeEngine) -> type[bootsteps.StartStopStep]:
    """Give the bootstep of one app.

    Args:
        settings: The worker's settings.
        make: Builds the engine.
    """

    class EngineStep(bootsteps.StartStopStep):
        """Builds the engine before the worker takes jobs, and ends it after the last."""

        requires = ("celery.worker.components:Pool",)
        label = "Stoker"

        def create(self, worker: Any) -> "EngineStep":
            _check(worker)
            self.calls = LoopCalls()
            # Every call of the engine may be repeated; while the server is away, results wait.
            self.client = connect(settings, patient=True)
            self.quick = connect(settings)
            try:
                refuse_unfit(self.quick)
                if settings.apart:
                    with connect(settings.of_results) as results:
                        refuse_unfit(results, "result_url")
                        refuse_one_for_two(self.quick, results)
            except ValueError as error:
                logger.critical("the worker cannot start: %s", error)
                raise SystemExit(CONFIG) from None
            except redis.RedisError:
                pass  # away for now; Celery waits for it, and says so
            # Read in the event loop as well, which must not wait for an absent server.
            self.clock = ServerClock(self.quick)
            outlet = CeleryOutlet(self.calls, self.client, self.clock, settings)
            try:
                self.engine = make(settings, outlet, self.client)
            except (StokerError, ValueError) as error:
                logger.critical("the worker cannot start: %s", error)
                raise SystemExit(CONFIG) from None
            self.announcer = Announcer(Registry(self.quick), lambda: self.serving(worker))
            self.ready = False
            self.watchdog = Watchdog(self.trouble)
            commands.attach(worker, self.engine.control)
            self.engine.flow.listen(self.announcer.again)
            if self.engine.control is not None:
                self.engine.control.listen(self.announcer.again)
            worker.process_task = Intake(
                self.engine.flow.accept,
                self.engine.flow.refuse,
                worker.process_task,
                self.calls,
                self.quick,
                self.clock,
                settings.max_message,
            )
            return self

        def register_with_event_loop(self, worker: Any, hub: Any) -> None:
            self.calls.attach(hub)

        def start(self, worker: Any) -> None:
            self.clock.now()
            # What it loads can be seen; for jobs it is there once it is ready.
            self.announcer.start()
            # What it loads may hang, or lose the device.
            self.watchdog.start()
            # Before the consumer starts, so that no cold worker takes jobs.
            try:
                self.engine.preload()
            except StokerError as error:
                # What an operator wrote, not a caller: it may be told in full.
                logger.critical("a model cannot be preloaded: %s", error.message)
                self.announcer.stop()
                self.watchdog.stop()
                raise SystemExit(CONFIG) from None
            _spare_the_collector()
            self.engine.flow.start()
            self.ready = True
            self.announcer.again()

        def stop(self, worker: Any) -> None:
            self._end(_STOP_SECONDS)

        def terminate(self, worker: Any) -> None:
            self._end(_TERMINATE_SECONDS)

        def _end(self, seconds: float) -> None:
            self.announcer.stop()
            self.watchdog.stop()
            if not self.engine.flow.stop(seconds):
                logger.error("a stage did not end in %.0f s; its jobs run again", seconds)
            # First what the last batch completed is acknowledged; then all else goes back to the
            # queue: here, or on kombu's own transport when Celery closes the channel.
            self.calls.run()
            self._unmark([delivery.id for delivery in self.engine.flow.interrupted()])
            for ledger in ledgers():
                ledger.close()

        def trouble(self) -> str | None:
            """Say why this worker is to end; None if it works."""
            # This first: a device that a load has lost is lost to the pass beside it as well.
            why = self.engine.load_trouble(settings.hang_timeout)
            if why is None:
                return self.engine.flow.trouble(settings.hang_timeout)
            if self.ready:
                self._acquit()
            return why

        def _acquit(self) -> None:
            """Have no job count as what ends this worker.

            What runs is a suspect nevertheless, and runs alone next: a GPU tells of a pass's fault
            with whatever call comes next.
            """
            try:
                self.engine.flow.stop(_TERMINATE_SECONDS)
                ids = [delivery.id for delivery in self.engine.flow.interrupted()]
                self._unmark(ids)
                if ids:
                    suspect(self.quick, ids, guilty=False)
            except Exception as error:  # noqa: BLE001 - the worker has to end all the same
                log_fault(logger, "jobs count as having ended this worker", error)

        def _unmark(self, ids: Sequence[str]) -> None:
            """Take jobs that go back half done off the list of those that run."""
            if not ids:
                return
            try:
                self.quick.zrem(keys.RUNNING, *ids)
                count_starts(self.quick, ids)
            except redis.RedisError as error:
                logger.warning("jobs are still marked as running: %s", type(error).__name__)

        def serving(self, worker: Any) -> Serving:
            queues = worker.app.amqp.queues.consume_from
            return Serving(
                worker=worker.hostname,
                pools=tuple(sorted(pool_name(queue) for queue in queues)),
                tasks=self.engine.tasks,
                defaults=self.engine.defaults,
                models=self.engine.models,
                warm=self.engine.warm(),
                device=self.engine.device,
                states=self.engine.control.states() if self.engine.control else (),
                ready=self.ready,
                meter=self.engine.flow.meter.read(),
                ailing=self.engine.flow.ailing(),
                results_apart=settings.apart,
            )

    return EngineStep


def _spare_the_collector() -> None:
    """Let Python's collector of cycles look seldom, and never at what stays as long as the worker.

    Jobs make few cycles, and hundreds of them wait in memory: by default each thousandth of a
    second it would walk over all of them, and over every module, to find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)


def _check(worker: Any) -> None:
    """Refuse what would lose or stall jobs, before anything is loaded.

    Raises:
        ImproperlyConfigured: The pool forks or is green, or keys have a prefix.
    """
    if not issubclass(worker.pool_cls, ThreadPool | SoloPool):
        raise ImproperlyConfigured(
            "a Stoker worker owns its device in threads of its own: start it with --pool threads "
            "(the app's default) or solo, not prefork, gevent or eventlet"
        )
    conf = worker.app.conf
    for name in ("broker_transport_options", "result_backend_transport_options"):
        if conf[name].get("global_keyprefix"):
            raise ImproperlyConfigured(
                f"global_keyprefix in {name} is not supported: give Stoker a logical database of "
                "its own (the number at the end of the Redis URL) instead of a prefix"
            )
