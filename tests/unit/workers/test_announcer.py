"""What a worker says of itself, and what it does while nobody can hear it."""

import logging
from typing import Any

import pytest
import redis

from stoker_config.serving import Registry, Serving
from stoker_workers.broker.announcer import Announcer

SERVING = Serving(
    worker="w1", pools=("default",), tasks=(), defaults={}, models=(), warm=(), device="cpu"
)


class Away:
    """A client of a server that is away."""

    def __getattr__(self, name: str) -> Any:
        raise redis.ConnectionError("connection refused")


def test_a_worker_starts_and_stops_while_the_server_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    announcer = Announcer(Registry(Away()), lambda: SERVING)

    with caplog.at_level(logging.WARNING):
        announcer.start()
        announcer.stop()

    assert "the worker could not be announced: ConnectionError" in caplog.text
    assert "the worker could not be withdrawn: ConnectionError" in caplog.text
