"""How an idle channel waits: by a blocking peek at each of its lists, which moves nothing.

A peek is `BLMOVE list list RIGHT RIGHT`: it answers once the list has a message, and leaves it
where it was, for a claim to take.
"""

import logging
from collections.abc import Iterable
from math import inf
from time import monotonic
from typing import Any, Final

import redis
from kombu.transport import redis as stock

logger = logging.getLogger(__name__)

# Under this name and a list's the poller knows the peek at it.
PEEK: Final = "PEEK:"
# Seconds of a blocking peek; after it the connection is known to be alive.
_SECONDS: Final = 5
# Seconds without one after the server has refused one for want of memory.
_REFUSED_SECONDS: Final = 1.0


class Poller(stock.MultiChannelPoller):
    """kombu's poller, which also hears the answers to blocking peeks."""

    def on_readable(self, fileno: int) -> Any:
        """Read what a socket has."""
        channel, kind = self._fd_to_chan.get(fileno, (None, ""))
        if kind.startswith(PEEK):
            return channel.peeks.read(kind)
        return super().on_readable(fileno)


class Peeks:
    """The blocking peeks of one channel, each on a connection of its own.

    Args:
        channel: The channel.

    Attributes:
        idle: Whether the channel waits: its last claim found less than it asked for, and no peek
            has found anything since.
    """

    def __init__(self, channel: Any) -> None:
        self.idle = False
        self._channel = channel
        # By list: its client, and since when its peek waits for an answer.
        self._clients: dict[str, Any] = {}
        self._since: dict[str, float] = {}
        self._refused = -inf

    def start(self, lists: Iterable[str]) -> None:
        """Peek at those lists at which no peek waits.

        Args:
            lists: Their keys.
        """
        if monotonic() - self._refused < _REFUSED_SECONDS:
            return
        channel = self._channel
        for key in lists:
            client = self._clients.get(key)
            if key in self._since:
                self._check(key, client)
                continue
            if client is None:
                client = self._clients[key] = channel._create_client(asynchronous=True)
            cycle = channel.connection.cycle
            if not cycle._client_registered(channel, client, PEEK + key):
                cycle._register(channel, client, PEEK + key)
            client.connection.send_command("BLMOVE", key, key, "RIGHT", "RIGHT", _SECONDS)
            self._since[key] = monotonic()

    def read(self, kind: str) -> None:
        """Read the answer to a peek: if a message is there, claim next.

        Args:
            kind: The name under which the poller knows it.
        """
        key = kind.removeprefix(PEEK)
        client = self._clients[key]
        self._since.pop(key, None)
        try:
            answer = client.parse_response(client.connection, "BLMOVE")
        except redis.exceptions.OutOfMemoryError:
            # To the server it is a write. The connection is well, and memory may come back.
            self._refused = monotonic()
            return
        except self._channel.connection_errors:
            client.connection.disconnect()
            raise
        if answer is not None:
            self.idle = False

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            connection, client.connection = client.connection, None
            if connection is not None:
                connection.disconnect()
        self._clients.clear()

    def _check(self, key: str, client: Any) -> None:
        """Drop a connection that has not answered in time: a half-open socket never would."""
        if monotonic() - self._since[key] > _SECONDS + self._channel.health_check_interval:
            logger.warning("a waiting connection is silent; it is replaced")
            del self._since[key]
            client.connection.disconnect()
