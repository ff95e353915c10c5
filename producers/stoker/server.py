"""One Redis server as a producer sees it: its app, its client, its registry, its artifacts.

Celery and redis-py are imported by the first call that needs them: a web backend imports Stoker in
every process, whether it submits or not.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from stoker_config.keys import PRIORITY_STEPS
from stoker_tasks.wire import PRIORITIES

if TYPE_CHECKING:
    from stoker.apart import Apart
    from stoker.events import Webhooks
    from stoker.listener import Listener
    from stoker_config.artifacts import ArtifactStore
    from stoker_config.clock import ServerClock
    from stoker_config.serving import Registry
    from stoker_config.settings import Settings

Part = TypeVar("Part")


class Server:
    """The connections of one client, each opened when it is first used. Safe for threads.

    Args:
        settings: Where the server is.
        app: A Celery app to use instead of one of Stoker's own.
    """

    def __init__(self, settings: "Settings", app: Any = None) -> None:
        self.settings = settings
        self._given_app = app
        self._lock = threading.RLock()
        self._parts: dict[str, Any] = {}

    @property
    def app(self) -> Any:
        """The Celery app."""
        return self._given_app or self._part("app", partial(_make_app, self.settings))

    @property
    def redis(self) -> Any:
        """A redis-py client."""
        return self._part("redis", partial(_connect, self.settings))

    @property
    def results(self) -> Any:
        """A redis-py client of the server that holds results."""
        return self._part("results", self._connect_results) if self.settings.apart else self.redis

    @property
    def apart(self) -> "Apart | None":
        """What is to be done where results have a server of their own; None if they have none."""
        return self._part("apart", self._make_apart) if self.settings.apart else None

    @property
    def registry(self) -> "Registry":
        """Who serves what."""
        return self._part("registry", self._make_registry)

    @property
    def listener(self) -> "Listener":
        """What waits for results."""
        return self._part("listener", self._make_listener)

    @property
    def clock(self) -> "ServerClock":
        """The server's clock."""
        return self._part("clock", self._make_clock)

    @property
    def artifacts(self) -> "ArtifactStore":
        """Where payloads travel that are too large for a message."""
        return self._part("artifacts", self._make_artifacts)

    @property
    def webhooks(self) -> "Webhooks":
        """What jobs tell their receivers."""
        return self._part("webhooks", self._make_webhooks)

    def close(self) -> None:
        """Close all connections; they are opened again if they are used again."""
        with self._lock:
            parts, self._parts = self._parts, {}
        if "listener" in parts:
            parts["listener"].close()
        for name in ("redis", "results"):
            if name in parts:
                parts[name].close()
        if "app" in parts:
            # A backend that has never waited for a result has no consumer to stop.
            with suppress(AttributeError):
                parts["app"].backend.result_consumer.stop()
            parts["app"].close()

    def _part(self, name: str, make: Callable[[], Part]) -> Part:
        with self._lock:
            if name not in self._parts:
                self._parts[name] = make()
            part: Part = self._parts[name]
            return part

    def _make_registry(self) -> "Registry":
        from stoker_config.serving import Registry

        return Registry(self.redis)

    def _make_listener(self) -> "Listener":
        from stoker.listener import Listener

        return Listener(self.results)

    def _connect_results(self) -> Any:
        from stoker_config.servers import refuse_one_for_two

        results = _connect(self.settings.of_results, "result_url")
        refuse_one_for_two(self.redis, results)
        return results

    def _make_apart(self) -> "Apart":
        from stoker.apart import Apart

        return Apart(self.redis, self.results)

    def _make_clock(self) -> "ServerClock":
        from stoker_config.clock import ServerClock

        return ServerClock(self.redis)

    def _make_webhooks(self) -> "Webhooks":
        from stoker.events import Webhooks

        return Webhooks(self.redis)

    def _make_artifacts(self) -> "ArtifactStore":
        from stoker_config.stores import open_store

        return open_store(self.settings, self.redis)


def server_of(app: Any, settings: "Settings") -> dict[str, Any]:
    """Give the settings that name a Celery app's server.

    Args:
        app: The app.
        settings: Settings, which may name another server for results.

    Raises:
        ValueError: The app is set up in a way in which its jobs' results would not be found.
    """
    broker, backend = str(app.conf.broker_url or ""), str(app.conf.result_backend or "")
    for name in ("broker_transport_options", "result_backend_transport_options"):
        if (app.conf[name] or {}).get("global_keyprefix"):
            raise ValueError(
                f"the app sets global_keyprefix in {name}, which Stoker does not support: give "
                "Stoker a logical database of its own instead"
            )
    if not broker.startswith(("redis://", "rediss://", "redis+socket://", "sentinel://")):
        raise ValueError(
            "the app's broker_url is not a Redis server (redis://, rediss://, sentinel://)"
        )
    asked = _of_sentinels(app.conf.broker_transport_options)
    stored = _of_sentinels(app.conf.result_backend_transport_options)
    there = _places(backend) == _places(broker)
    if there and asked.get("master_name") == stored.get("master_name"):
        results = ""
    elif settings.apart and _places(backend) == _places(settings.of_results.celery_redis):
        results = settings.result_url.get_secret_value()
    else:
        raise ValueError(
            "the app's result_backend must be the same URL as its broker_url (and the same "
            "master_name, for sentinels), or as STOKER_RESULT_URL: Stoker's workers store results "
            "where they take jobs from, or there"
        )
    steps = (app.conf.broker_transport_options or {}).get("priority_steps") or PRIORITY_STEPS
    for name, priority in PRIORITIES.items():
        step = max((each for each in steps if each <= priority), default=None)
        if step not in PRIORITY_STEPS:
            raise ValueError(
                f"the app's priority_steps {list(steps)} put {name} priority ({priority}) into a "
                f"list that Stoker's workers do not read: use {list(PRIORITY_STEPS)}, the default"
            )
    return {"redis_url": broker, "result_url": results, **asked}


def _of_sentinels(options: Mapping[str, Any] | None) -> dict[str, Any]:
    names = ("master_name", "sentinel_kwargs")
    return {name: value for name, value in (options or {}).items() if name in names and value}


def _places(url: str) -> set[tuple[str, str, int | None, str]]:
    return {_place(each) for each in url.split(";")}


def _place(url: str) -> tuple[str, str, int | None, str]:
    """Name the database of a URL, in one spelling."""
    parts = urlsplit(url)
    if not parts.hostname and parts.scheme.endswith("socket"):
        return "socket", parts.path, None, dict(parse_qsl(parts.query)).get("virtual_host", "0")
    return parts.scheme, parts.hostname or "", parts.port or 6379, parts.path.strip("/") or "0"


def _make_app(settings: "Settings") -> Any:
    from stoker_config.app import make_app

    return make_app(settings)


def _connect(settings: "Settings", name: str = "redis_url") -> Any:
    from stoker_config.servers import connect, refuse_unfit

    client = connect(settings)
    refuse_unfit(client, name)
    return client
