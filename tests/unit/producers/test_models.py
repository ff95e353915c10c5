"""A wish about models reaches a worker that does not listen yet, and no longer than it may take."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from stoker import errors, models
from stoker_config.serving import Registry
from tests.support.serving import serving


class Deaf:
    """Celery's remote control, as workers answer it that hear only what is said so late."""

    def __init__(self, **hears_from: int) -> None:
        self.hears_from = {f"{name}@test": time for name, time in hears_from.items()}
        self.told: list[list[str]] = []

    def broadcast(self, _command: str, *, destination: list[str], **_: Any) -> list[Any]:
        self.told.append(destination)
        heard = [name for name in destination if self.hears_from[name] <= len(self.told)]
        return [{name: {"ok": [{"task": "fill-mask"}]}} for name in heard]


@pytest.fixture
def registry(redis_url: str) -> Iterator[Registry]:
    """Where two workers of a pool are."""
    with redis.Redis.from_url(redis_url) as client:
        registry = Registry(client)
        for name in ("w1@test", "w2@test"):
            registry.announce(serving(name))
        yield registry


def evict(control: Deaf, registry: Registry) -> list[models.Answer]:
    return models.evict(SimpleNamespace(control=control), registry, "default", "org/model")


def test_only_who_did_not_answer_is_told_again(registry: Registry) -> None:
    control = Deaf(w1=1, w2=2)

    answers = evict(control, registry)

    assert [(each.worker, each.tasks) for each in answers] == [
        ("w1@test", ("fill-mask",)),
        ("w2@test", ("fill-mask",)),
    ]
    assert control.told == [["w1@test", "w2@test"], ["w2@test"]]


def test_who_never_answers_is_named(registry: Registry) -> None:
    control = Deaf(w1=1, w2=9)

    with pytest.raises(errors.Unserved, match=r"^w2@test did not answer within 9 s: try again$"):
        evict(control, registry)

    assert len(control.told) == 3
