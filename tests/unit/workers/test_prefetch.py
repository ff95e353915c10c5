"""The count of what a worker may hold comes back from its limit, and is never lifted altogether."""

from typing import Any

import pytest
from kombu.common import QoS

from stoker_config.settings import Settings
from stoker_workers.app import make_worker_app
from stoker_workers.broker.prefetch import Prefetch


def counts(of: type[QoS], waiting: int) -> list[int]:
    """Give the count while so many jobs wait for their time, and once all of them are due."""
    count = of(lambda **_: None, 4, max_prefetch=7)
    for _ in range(waiting):
        count.increment_eventually()
    most = count.value
    for _ in range(waiting):
        count.decrement_eventually()
    return [most, count.value]


@pytest.mark.parametrize("waiting", [2, 3, 7])
def test_the_count_is_what_it_was_once_all_are_due(waiting: int) -> None:
    assert counts(Prefetch, waiting) == [min(4 + waiting, 7), 4]


def test_kombus_own_count_would_not_be() -> None:
    assert counts(QoS, 7) == [7, 1]


def test_a_limit_never_lowers_what_a_worker_holds_without_countdowns() -> None:
    count = Prefetch(lambda **_: None, 8, max_prefetch=7)

    assert [count.increment_eventually(), count.decrement_eventually()] == [8, 8]


def test_a_large_count_is_set_as_it_is() -> None:
    said: list[int] = []

    def say(prefetch_count: int) -> None:
        said.append(prefetch_count)

    kombus: Any = QoS(say, 70_000)
    kombus.update()
    ours: Any = Prefetch(say, 70_000)
    for _ in range(2):
        ours.update()

    assert said == [0, 70_000]


@pytest.mark.parametrize(("given", "most"), [({"eta_limit": "5"}, 15), ({"eta_limit": ""}, None)])
def test_the_limit_is_what_a_setting_adds_to_the_prefetch(
    given: dict[str, str], most: int | None
) -> None:
    with make_worker_app(Settings.model_validate({"prefetch": 10, **given})) as app:
        assert app.conf.worker_eta_task_limit == most
