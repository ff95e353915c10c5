"""A message that Celery has more to do for than to run it is left to Celery's own strategy."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import signals
from celery.worker import state
from kombu import Connection

from stoker import Client, TextClassification
from stoker_config.settings import Settings
from stoker_workers.app import make_worker_app
from stoker_workers.broker.strategy import JobStrategy

TASK = "stoker.text_classification"


class Case:
    """A strategy with a consumer that notes what it is given, and a message from a queue."""

    def __init__(self, app: Any, client: Client, connection: Connection) -> None:
        self.taken: list[Any] = []
        self.consumer: Any = SimpleNamespace(
            hostname="h",
            connection_errors=(),
            event_dispatcher=None,
            timer=SimpleNamespace(call_at=None),
            apply_eta_task=None,
            disable_rate_limits=False,
            task_buckets={TASK: None},
            on_task_request=self.taken.append,
            on_task_message=set(),
            _limit_task=None,
            _limit_post_eta=None,
            pool=SimpleNamespace(apply_async=None),
            controller=SimpleNamespace(state=state),
            restart_count=0,
            _maximum_prefetch_restored=False,
        )
        self.strategy = JobStrategy(app.tasks[TASK], app, self.consumer)
        self.id = client.submit(TextClassification(inputs="x"), allow_unserved=True).id
        self.message = connection.default_channel.basic_get("stoker")


@pytest.fixture
def case(redis_url: str) -> Iterator[Case]:
    app = make_worker_app(Settings.model_validate({"redis_url": redis_url}))
    with app, Client(redis_url) as client, app.connection_for_read() as connection:
        yield Case(app, client, connection)
    state.requests.clear()
    state.revoked.clear()


def test_what_only_has_to_run_is_taken_in(case: Case) -> None:
    assert case.strategy.take(case.message)

    [request] = case.taken
    assert request.id == case.id
    assert state.requests[case.id] is request
    request.acknowledge()
    assert case.message.acknowledged


@pytest.mark.parametrize("name", ["eta", "expires"])
def test_what_has_a_time_is_left(case: Case, name: str) -> None:
    case.message.headers[name] = "2099-01-01T00:00:00+00:00"

    assert not case.strategy.take(case.message)


def test_what_was_revoked_is_left(case: Case) -> None:
    state.revoked.add(case.id)

    assert not case.strategy.take(case.message)


def test_a_rate_limit_that_an_operator_sets_holds_from_the_next_message(case: Case) -> None:
    case.consumer.task_buckets[TASK] = object()
    assert not case.strategy.take(case.message)

    case.consumer.disable_rate_limits = True
    assert case.strategy.take(case.message)


def test_whoever_listens_for_messages_is_told(case: Case) -> None:
    def listen(**_: Any) -> None: ...

    signals.task_received.connect(listen)
    try:
        assert not case.strategy.take(case.message)
    finally:
        signals.task_received.disconnect(listen)


def test_the_prefetch_count_is_restored_after_a_lost_connection(case: Case) -> None:
    case.consumer.restart_count = 1
    assert not case.strategy.take(case.message)

    case.consumer._maximum_prefetch_restored = True
    assert case.strategy.take(case.message)


def test_a_message_of_kombus_own_transport_is_left(case: Case) -> None:
    case.message.channel = object()

    assert not case.strategy.take(case.message)


def test_what_is_refused_at_once_is_forgotten(case: Case) -> None:
    def refuse(_: Any) -> None:
        raise RuntimeError

    case.consumer.on_task_request = refuse
    with pytest.raises(RuntimeError):
        case.strategy.take(case.message)

    assert case.id not in state.requests
