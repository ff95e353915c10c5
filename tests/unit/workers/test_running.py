"""The second stage: only what is still wanted runs, and what the device does is known."""

from collections.abc import Sequence

import pytest

from stoker_tasks.result import Success
from stoker_workers.engine.delivery import Delivery
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.window import Budget
from tests.doubles.line import Told, delivery, running, share, stages
from tests.doubles.model import FakeModel, FakeModels
from tests.doubles.store import payloads
from tests.support.until import until


def test_what_nobody_waits_for_is_not_run() -> None:
    told, models = Told(), FakeModels()
    told.unwanted = {"two", "three"}
    preparing, second, third = stages(told, models, *map(delivery, ("one", "two", "three")))
    for _ in range(3):
        assert preparing.next()
    assert second.next()
    assert third.next()

    assert told.gone == ["two", "three"]
    assert set(told.outcomes) == {"one"}
    assert models.model.batches == [[1]]


def test_canceling_a_running_row_ends_it_and_spares_its_neighbours() -> None:
    told, models = Told(), FakeModels()
    told.withdrawn = {"steps=60"}
    with running(told, models) as flow:
        share(flow, models.model, delivery("steps=60"), delivery("steps=1.5"))
        until(lambda: len(told.outcomes) == 2)

    assert told.gone == ["steps=60"]
    assert isinstance(told.outcomes["steps=1.5"], Success)
    assert models.model.steps.count("steps=60") < models.model.steps.count("steps=1.5")


def test_a_pass_goes_on_while_nobody_can_say_who_is_canceled() -> None:
    class Away(Told):
        def canceled(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
            self.withdrawn.add("asked")
            raise ConnectionError("the server is away")

    told = Away()
    with running(told) as flow:
        flow.accept(delivery("steps=0.7"))
        until(lambda: len(told.outcomes) == 1)

    assert told.withdrawn == {"asked"}
    assert isinstance(told.outcomes["steps=0.7"], Success)


def test_one_that_was_canceled_is_told_of_though_that_failed_at_first() -> None:
    class Deaf(Told):
        asked = 0

        def dropped(self, deliveries: Sequence[Delivery]) -> None:
            self.asked += 1
            if self.asked == 1:
                raise ConnectionError("the server refuses to write")
            super().dropped(deliveries)

    told = Deaf()
    told.withdrawn = {"steps=20"}
    with running(told) as flow:
        flow.accept(delivery("steps=20"))
        until(lambda: bool(told.gone))

    assert told.gone == ["steps=20"]
    assert told.outcomes == {}


def test_an_idle_engine_is_not_hung_after_a_pass_that_raised() -> None:
    class Broken(FakeModel):
        def forward(self, chunks, ended=None, follow=()):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt  # what no handler of a pass expects

    preparing, running, _ = stages(Told(), FakeModels(Broken()), delivery("x"))
    assert preparing.next()
    with pytest.raises(KeyboardInterrupt):
        running.next()

    assert running.busy_since is None


def test_an_engine_has_a_meter_of_what_its_device_does() -> None:
    told, models = Told(), FakeModels()
    with running(told, models) as flow:
        share(flow, models.model, delivery("one"), delivery("two words"), delivery("three"))
        until(lambda: len(told.outcomes) == 4)

    # The last pass is counted when its results are on their way.
    counts = flow.meter.read()
    assert (counts["batches"], counts["rows"], counts["released_drained"]) == (2, 4, 2)
    # The one that held the device was alone; the other three were padded to two words each.
    assert (counts["tokens"], counts["padded_tokens"]) == (1 + 4, 1 + 6)
    timings = [each.timing for each in told.outcomes.values() if isinstance(each, Success)]
    assert {each.release_reason for each in timings} == {"drained"}


def test_what_does_not_fit_into_memory_is_told_with_its_size() -> None:
    told, sizes = Told(), []
    flow = Flow(
        FakeModels(),
        payloads(),
        told,
        lambda _: Budget(tokens=1024),
        lambda key, tokens: sizes.append((key.task, tokens)),
    )
    for words in ("oom=2 a", "oom=2 b", "oom=2 c", "oom=2 d"):
        flow.accept(delivery(words))
    flow.start()
    until(lambda: len(told.outcomes) == 4)
    assert flow.stop(10)

    assert all(isinstance(outcome, Success) for outcome in told.outcomes.values())
    assert all(task == "text-classification" and tokens >= 6 for task, tokens in sizes)
