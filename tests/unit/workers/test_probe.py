"""The probe finds the peak of a device whose speed is known, and a learned budget is kept."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stoker_workers.engine.budgets import Budgets
from stoker_workers.engine.model import Chunk, ModelKey
from stoker_workers.engine.probe import Learned, probe
from stoker_workers.engine.window import Budget

KEY = ModelKey("text-classification", "m")


class Device:
    """A device on a clock of its own, whose passes take what `cost` says of their tokens."""

    def __init__(self, cost: Callable[[int], float], fits: int = 10**9) -> None:
        self.cost = cost
        self.fits = fits
        self.now = 0.0
        self.passes: list[int] = []

    def forward(self, chunks: Sequence[Chunk]) -> None:
        tokens = sum(chunk.length for chunk in chunks)
        if tokens > self.fits:
            raise MemoryError
        self.passes.append(tokens)
        self.now += self.cost(tokens)

    def probe(self) -> Learned | None:
        return probe(self.forward, lambda length: Chunk({}, length), lambda: self.now)


def test_a_device_that_gets_slower_beyond_its_caches() -> None:
    # 1 ms to start, 50 µs a token, half as much again beyond 1 024 tokens.
    device = Device(lambda n: 0.001 + 50e-6 * n * (1.0 if n <= 1024 else 1.5))

    learned = device.probe()

    assert learned is not None
    assert 512 <= learned.tokens <= 1024  # half the size is within 3 % of the peak already
    assert learned.overhead == pytest.approx(20, abs=5)
    assert max(device.passes) <= 4096


def test_a_device_that_is_idle_until_it_has_much_to_do() -> None:
    # 8 ms however little there is; then 1 µs a token.
    device = Device(lambda n: max(0.008, 1e-6 * n))

    learned = device.probe()

    assert learned is not None
    assert learned.tokens == 8192
    assert learned.overhead == pytest.approx(8000, rel=0.05)


def test_what_does_not_fit_ends_the_probe() -> None:
    learned = Device(lambda n: 0.01 + 1e-6 * n, fits=2048).probe()

    assert learned is not None
    assert learned.tokens == 2048


def test_a_slow_device_is_not_held_for_long() -> None:
    device = Device(lambda n: 0.002 * n)

    assert device.probe() is not None
    assert device.now < 5


def test_a_model_without_sample_rows_keeps_the_default() -> None:
    assert probe(lambda _: None, lambda _: None) is None


def test_one_disturbed_pass_does_not_end_the_probe() -> None:
    device = Device(lambda n: 0.004 + 1e-6 * n)
    device.cost = lambda n: (0.004 + 1e-6 * n) * (5 if n == 512 else 1)

    learned = device.probe()

    assert learned is not None
    assert learned.tokens > 4096


def test_a_learned_budget_is_kept_and_not_probed_again(tmp_path: Path) -> None:
    default = Budget(tokens=1024, rows=64, overhead=16)
    file = tmp_path / "deep" / "budgets.json"
    first = Budgets(default, file)
    assert first.of(KEY) == default

    first.learn(KEY, "m@1 cpu", lambda: Learned(tokens=512, overhead=7))
    second = Budgets(default, file)
    second.learn(KEY, "m@1 cpu", lambda: pytest.fail("it was probed again"))

    for budgets in (first, second):
        assert budgets.of(KEY) == Budget(tokens=512, rows=64, overhead=7)


def test_a_wild_probe_moves_a_budget_only_so_far() -> None:
    budgets = Budgets(Budget(tokens=1024, overhead=16))

    budgets.learn(KEY, "m", lambda: Learned(tokens=64, overhead=5000))

    assert budgets.of(KEY) == Budget(tokens=512, overhead=64)


@pytest.mark.parametrize("text", ["", "[]", '{"m": {"tokens": 1}}', "nonsense"])
def test_a_file_that_makes_no_sense_costs_only_a_probe(tmp_path: Path, text: str) -> None:
    file = tmp_path / "budgets.json"
    file.write_text(text)
    budgets = Budgets(Budget(tokens=1024), file)

    budgets.learn(KEY, "m", lambda: Learned(tokens=512, overhead=7))

    assert budgets.of(KEY).tokens == 512


def test_a_batch_that_did_not_fit_halves_what_is_tried_next() -> None:
    budgets = Budgets(Budget(tokens=1024))

    budgets.overflowed(KEY, 1000)
    assert budgets.of(KEY).tokens == 500
    budgets.overflowed(KEY, 480)
    assert budgets.of(KEY).tokens == 240
    # Half a batch of the first one, which did not fit either, says nothing new.
    budgets.overflowed(KEY, 900)
    assert budgets.of(KEY).tokens == 240
    assert budgets.of(ModelKey("text-classification", "other")).tokens == 1024
