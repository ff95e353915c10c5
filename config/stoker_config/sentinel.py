"""Connections to whichever server Redis Sentinel calls the master, found anew by each of them.

The names are Celery's and kombu's: URLs `sentinel://HOST:PORT` divided by semicolons, `master_name`
and `sentinel_kwargs` (https://redis.io/docs/latest/develop/reference/sentinel-clients/).
"""

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

SCHEME: Final = "sentinel"
_PORT: Final = 26379
# A sentinel answers at once, or is passed over.
_ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Sentinels:
    """What a URL says of sentinels, and of the servers that they watch.

    Attributes:
        addresses: The host and the port of each sentinel.
        credentials: What stands before the `@`, as it is written: the servers' user and password.
        db: The logical database.
    """

    addresses: tuple[tuple[str, int], ...]
    credentials: str = field(default="", repr=False)
    db: int = 0

    @classmethod
    def parse(cls, url: str) -> "Sentinels":
        """Read `sentinel://[USER:PASSWORD@]HOST:PORT[/DB];sentinel://HOST:PORT…`.

        Raises:
            ValueError: It has another form; the message bears no part of it.
        """
        parts = [urlsplit(each.strip()) for each in url.split(";") if each.strip()]
        if not all(part.scheme == SCHEME and part.hostname for part in parts):
            raise ValueError("write sentinel://HOST:PORT, and a semicolon between two of them")
        if any(part.query for part in parts):
            raise ValueError(
                "sentinel:// URLs take no options: what connections to sentinels need is in "
                "STOKER_SENTINEL_KWARGS"
            )
        said = {part.path.strip("/") for part in parts} - {""}
        who = {part.netloc.rpartition("@")[0] for part in parts} - {""}
        if len(said) > 1 or len(who) > 1 or not all(each.isdigit() for each in said):
            raise ValueError("sentinel:// URLs name one database, by number, and one password")
        return cls(
            addresses=tuple((str(part.hostname), part.port or _PORT) for part in parts),
            credentials=next(iter(who), ""),
            db=int(next(iter(said), 0)),
        )

    def urls(self) -> list[str]:
        """Give a URL for each sentinel, with all that is known of the servers.

        kombu goes on to the next one when it loses a connection, and asks that one for all of it.
        """
        who = f"{self.credentials}@" if self.credentials else ""
        return [
            f"{SCHEME}://{who}{f'[{host}]' if ':' in host else host}:{port}/{self.db}"
            for host, port in self.addresses
        ]

    def server(self) -> dict[str, Any]:
        """Give the options of a connection to the master, beside its address."""
        who = urlsplit(f"//{self.credentials}@")
        return {
            "db": self.db,
            "username": unquote(who.username) if who.username else None,
            "password": unquote(who.password) if who.password else None,
        }


def master_client(
    sentinels: Sentinels,
    master: str,
    sentinel_kwargs: dict[str, Any],
    options: dict[str, Any],
    *,
    asynchronous: bool = False,
) -> Any:
    """Make a client of the master.

    Args:
        sentinels: Who knows it.
        master: The name that they watch it under.
        sentinel_kwargs: Options of the connections to them.
        options: Options of the connections to the master.
        asynchronous: Whether it is to be one of redis.asyncio.
    """
    manager_class, pool_class, retry_class = _classes_async() if asynchronous else _classes()
    manager = manager_class(
        sentinels.addresses,
        sentinel_kwargs=_asking(retry_class) | sentinel_kwargs,
        **{**options, **sentinels.server()},
    )
    return manager.master_for(master, connection_pool_class=pool_class)


def celery_options(master: str, sentinel_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Give what Celery has to be told beside the URLs, in its own words.

    Args:
        master: The name that the sentinels watch the master under.
        sentinel_kwargs: Options of the connections to them.
    """
    from redis.retry import Retry

    return {"master_name": master, "sentinel_kwargs": _asking(Retry) | sentinel_kwargs}


def _asking(retry_class: Any) -> dict[str, Any]:
    from redis.backoff import NoBackoff

    # redis-py would try one that is down for seven seconds, with each connection, before it asks
    # the next.
    return {"socket_timeout": _ANSWER_SECONDS, "retry": retry_class(NoBackoff(), 0)}


# A pool takes the connections to its sentinels with it: nobody else knows of them.


def _classes() -> tuple[Any, Any, Any]:
    from redis.retry import Retry
    from redis.sentinel import Sentinel, SentinelConnectionPool

    class Pool(SentinelConnectionPool):
        def close(self) -> None:
            super().close()
            for each in self.sentinel_manager.sentinels:
                each.close()

    return Sentinel, Pool, Retry


def _classes_async() -> tuple[Any, Any, Any]:
    from redis.asyncio.retry import Retry
    from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

    class Pool(SentinelConnectionPool):
        async def aclose(self) -> None:
            await super().aclose()
            for each in self.sentinel_manager.sentinels:
                await each.aclose()

    return Sentinel, Pool, Retry
