"""The worker's transport and its results on whichever server Redis Sentinel calls the master."""

from collections.abc import Sequence
from typing import Any, Final

from celery.backends.redis import SentinelBackend
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as stock
from redis.sentinel import Sentinel

from stoker_config.settings import Settings
from stoker_workers.broker.backend import CollectingBackend
from stoker_workers.broker.transport import Channel, Transport

# The name under which Celery's settings choose this transport.
ALIAS: Final = "stoker-sentinel"


class SentinelChannel(Channel, stock.SentinelChannel):
    """A channel to whichever server Sentinel calls the master."""

    # The host and the port of each. kombu would take them from its list of URLs, of which it tries
    # the next whenever a connection is lost: by that URL's own transport, which is not this one.
    sentinels: Sequence[tuple[str, int]] = ()
    from_transport_options = (
        *Channel.from_transport_options,
        *stock.SentinelChannel.from_transport_options,
        "sentinels",
    )

    def _server(self) -> tuple[Any, ...]:
        return self.master_name, self.connection.client.virtual_host

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        options = self._connparams(asynchronous)
        options = {name: options[name] for name in options.keys() - {"host", "port"}}
        manager = Sentinel(
            self.sentinels,
            sentinel_kwargs=self.sentinel_kwargs,
            **options,
        )
        # So that kombu closes what the manager has opened.
        name = "_async_sentinel_manager" if asynchronous else "_sentinel_manager"
        setattr(self, name, manager)
        return manager.master_for(self.master_name).connection_pool


class SentinelTransport(Transport):
    """The transport of a worker whose server Sentinel names."""

    default_port = stock.SentinelTransport.default_port
    Channel = SentinelChannel


class CollectingSentinelBackend(CollectingBackend, SentinelBackend):
    """The worker's result backend on such a server."""


def conf(settings: Settings, options: dict[str, Any]) -> dict[str, Any]:
    """Give the Celery settings that choose this transport.

    Args:
        settings: The worker's settings, whose URL names sentinels.
        options: The transport's options.
    """
    assert settings.sentinels is not None
    return {
        "broker_url": settings.sentinels.urls()[0],
        "broker_transport": ALIAS,
        "broker_transport_options": {**options, "sentinels": settings.sentinels.addresses},
    }


TRANSPORT_ALIASES[ALIAS] = f"{__name__}:{SentinelTransport.__name__}"
