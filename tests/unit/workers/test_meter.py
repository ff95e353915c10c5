"""The meter: each second of a device is busy, idle with work at hand, or neither, and only once."""

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from stoker_workers.engine import preparing, running
from stoker_workers.engine.batcher import Batcher
from stoker_workers.engine.delivery import Delivery, Work
from stoker_workers.engine.line import Line
from stoker_workers.engine.meter import Meter
from stoker_workers.engine.preparing import Preparing
from stoker_workers.engine.running import Running
from stoker_workers.engine.window import Budget
from tests.doubles.line import Told, delivery
from tests.doubles.model import FakeModel, FakeModels
from tests.doubles.store import payloads

PASS_SECONDS = 5.0


class Asked(Told):
    """An outlet that a test hears of when it is asked who is waited for.

    Attributes:
        asked: Called then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: Callable[[], None] = lambda: None

    def abandoned(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        self.asked()
        return super().abandoned(deliveries)


class Device:
    """The first two stages of a line, which a test takes step by step at times that it names.

    Attributes:
        now: What both stages read for the time.
        told: What became of jobs.
        meter: What the device has done.
        midway: Called in the middle of each pass.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.told = Asked()
        self.meter = Meter()
        self.midway: Callable[[], None] = lambda: None
        self._line = Line(Batcher(lambda _: Budget(tokens=1024)))
        self._preparing = Preparing(self._line, FakeModels(Timed(self)), payloads(), self.told)
        self._running = Running(self._line, self.told, self.meter, lambda _model, _tokens: None)

    def monotonic(self) -> float:
        return self.now

    def comes(self, at: float, words: str, model: str = "fake", priority: int = 3) -> None:
        """Have a job be ready at a time."""
        self.now = at
        kwargs = {"inputs": words, "model": model}
        made = dataclasses.replace(delivery(words), kwargs=kwargs, priority=priority)
        self._line.inbox.put(Work(made))
        assert self._preparing.next()

    def runs(self, at: float) -> None:
        """Have the next batch be taken at a time."""
        self.now = at
        assert self._running.next()

    @property
    def seconds(self) -> tuple[float, float]:
        """What is counted: idle with work at hand, and busy."""
        return self.meter.idle_with_work_s, self.meter.busy_s


class Timed(FakeModel):
    """A model whose passes take `PASS_SECONDS` of a device's time."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self._device = device

    def forward(self, chunks, ended=None, follow=()):  # type: ignore[no-untyped-def]
        end = self._device.now + PASS_SECONDS
        self._device.midway()
        self._device.now = end
        return super().forward(chunks, ended, follow)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()
    for stage in (preparing, running):
        monkeypatch.setattr(stage, "time", device)
    return device


def nothing() -> None:
    """Do nothing, where a test had something done."""


def test_a_device_without_work_is_not_idle_with_work(device: Device) -> None:
    for at in (110, 130, 170):
        device.comes(at, "one")
        device.runs(at)

    assert device.seconds == (0, 3 * PASS_SECONDS)


def test_a_row_that_waits_for_a_free_device_is_counted_from_when_it_is_ready(
    device: Device,
) -> None:
    device.comes(110, "one")
    device.comes(112, "two")
    device.runs(113)

    assert device.meter.rows == 2
    assert device.seconds == (3, PASS_SECONDS)


def test_what_waits_while_a_pass_runs_is_counted_from_its_end(device: Device) -> None:
    device.comes(110, "one")
    device.midway = lambda: device.comes(112, "two")
    device.runs(110)
    assert device.seconds == (0, PASS_SECONDS)

    device.midway = nothing
    device.runs(115 + 2)

    assert device.seconds == (2, 2 * PASS_SECONDS)


def test_a_row_of_another_model_counts_though_it_is_not_chosen(device: Device) -> None:
    device.comes(110, "older")
    device.comes(112, "urgent", model="other", priority=0)
    device.runs(115)
    assert device.told.begun == ["urgent"]
    assert device.seconds == (115 - 110, PASS_SECONDS)

    # What it has waited by then is counted already, but for the second after the pass.
    device.runs(120 + 1)

    assert device.told.begun == ["urgent", "older"]
    assert device.seconds == (5 + 1, 2 * PASS_SECONDS)


def test_a_row_that_comes_while_another_is_taken_changes_nothing(device: Device) -> None:
    device.comes(110, "one")
    device.told.asked = lambda: device.comes(114, "two")
    device.runs(112)
    assert device.seconds == (114 - 110, PASS_SECONDS)

    device.told.asked = nothing
    device.runs(119)

    assert device.seconds == (4, 2 * PASS_SECONDS)


def test_rows_that_nobody_wants_any_more_were_work_until_that_was_known(device: Device) -> None:
    device.told.unwanted = {"gone"}
    device.comes(110, "gone")
    device.runs(113)
    assert device.seconds == (3, 0)

    device.comes(120, "one")
    device.runs(121)

    assert device.seconds == (3 + 1, PASS_SECONDS)


def test_time_lost_to_a_server_that_does_not_answer_is_counted(device: Device) -> None:
    def away() -> None:
        device.now += 30
        raise ConnectionError("the server is away")

    device.told.asked = away
    device.comes(110, "one")
    device.runs(110)

    assert device.seconds == (30, 0)


def test_a_pass_that_ended_its_stage_was_no_idle_time(device: Device) -> None:
    def interrupt() -> None:
        device.now += 4
        raise KeyboardInterrupt  # what no handler of a pass expects

    device.comes(110, "one")
    device.comes(110, "two", model="other")
    device.midway = interrupt
    with pytest.raises(KeyboardInterrupt):
        device.runs(111)
    assert device.seconds == (1, 4)

    device.midway = nothing
    device.runs(115 + 2)

    assert device.seconds == (1 + 2, 4 + PASS_SECONDS)


def test_batches_are_counted_with_their_padding_and_why_they_were_no_larger(
    device: Device,
) -> None:
    for words in ("one", "three words here", "long " * 60):
        device.comes(110, words)
    for _ in range(2):
        device.runs(device.now)

    assert device.meter.read() == {
        "batches": 2,
        "rows": 3,
        "tokens": 1 + 3 + 60,
        "padded_tokens": 3 + 3 + 60,
        "busy_s": 2 * PASS_SECONDS,
        "idle_with_work_s": 0,
        "released_drained": 1,
        "released_padding": 1,
    }
