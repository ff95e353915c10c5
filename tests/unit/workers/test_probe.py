"""The probe finds the peak of a device whose speed is known, and a learned budget is kept."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from stoker_workers.engine.budgets import Budgets
from stoker_workers.engine.delivery import Work
from stoker_workers.engine.model import Chunk, ModelKey
from stoker_workers.engine.probe import Learned, probe
from stoker_workers.engine.window import Budget, Row, grow

KEY = ModelKey("text-classification", "m")


class Device:
    """A device on a clock of its own, whose passes take what `cost` says of their tokens."""

    def __init__(self, cost: Callable[[int], float], fits: int = 10**9) -> None:
        self.cost = cost
        self.fits = fits
        self.now = 0.0
        self.computed = 0.0
        self.passes: list[int] = []

    def forward(self, chunks: Sequence[Chunk]) -> None:
        tokens = sum(chunk.length for chunk in chunks)
        if tokens > self.fits:
            raise MemoryError
        self.passes.append(tokens)
        self.computed += self.cost(tokens)
        self.now += self.cost(tokens) / self.share(tokens)

    def share(self, tokens: int) -> float:
        return 1.0

    def probe(self, least: int = 0) -> Learned | None:
        return probe(
            self.forward,
            lambda length: Chunk({}, length),
            lambda: self.now,
            least,
            lambda: self.computed,
        )


class Disturbed(Device):
    """One that computes five times as long for passes of some size, the first few times."""

    def __init__(self, cost: Callable[[int], float], size: int, times: int) -> None:
        super().__init__(cost)
        self.size, self.times = size, times

    def forward(self, chunks: Sequence[Chunk]) -> None:
        began = self.now
        super().forward(chunks)
        if self.passes[-1] == self.size and self.times:
            self.times -= 1
            self.computed += 4 * (self.now - began)
            self.now += 4 * (self.now - began)


class Shared(Device):
    """One that other processes use as well, during passes of some sizes."""

    def __init__(self, cost: Callable[[int], float], sizes: Sequence[int], share: float) -> None:
        super().__init__(cost)
        self.sizes, self.shared = sizes, share

    def share(self, tokens: int) -> float:
        return self.shared if tokens in self.sizes else 1.0


def each_token(costs: dict[int, float]) -> Callable[[int], float]:
    """Give the cost of passes of up to so many tokens, by what each token takes in units of 50 µs.

    Those of more tokens than are listed are as those of the most.
    """

    def cost(tokens: int) -> float:
        return 50e-6 * tokens * next((costs[n] for n in costs if tokens <= n), costs[max(costs)])

    return cost


def budget_of(device: Device) -> Budget:
    budgets = Budgets(Budget(tokens=1024, overhead=16))
    budgets.learn(KEY, "m", lambda: device.probe(budgets.floor))
    return budgets.of(KEY)


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


def test_a_device_that_is_lost_is_not_passed_over() -> None:
    fault = RuntimeError("CUDA error: an illegal memory access was encountered")

    def cost(tokens: int) -> float:
        if tokens > 64:
            raise fault
        return 0.01

    with pytest.raises(RuntimeError) as caught:
        Device(cost).probe()

    assert caught.value is fault


def test_one_disturbed_pass_does_not_end_the_probe() -> None:
    device = Device(lambda n: 0.004 + 1e-6 * n)
    device.cost = lambda n: (0.004 + 1e-6 * n) * (5 if n == 512 else 1)

    learned = device.probe()

    assert learned is not None
    assert learned.tokens > 4096


@pytest.mark.parametrize(
    ("costs", "tokens"),
    [
        pytest.param({32: 1.0, 64: 1.6}, 32, id="one row is best"),
        pytest.param({32: 1.0, 64: 0.7, 128: 0.5, 256: 0.8, 512: 1.3}, 256, id="4 are, 16 lose"),
        pytest.param({32: 1.0, 64: 0.5, 128: 0.6, 256: 0.7, 512: 1.5}, 256, id="falls late"),
        pytest.param({32: 1.0, 64: 0.5, 128: 0.6}, 512, id="falls, and never loses"),
        pytest.param({64: 300.0}, 64, id="too slow to be timed further"),
    ],
)
def test_a_batch_is_never_slower_than_its_rows_one_after_another(
    costs: dict[int, float], tokens: int
) -> None:
    device = Device(each_token(costs))

    budget = budget_of(device)

    assert budget.tokens == tokens
    for rows in range(1, budget.tokens // 32 + 1):
        assert device.cost(32 * rows) <= rows * device.cost(32) + 1e-9


def test_rows_of_a_device_for_which_one_is_best_run_alone() -> None:
    budget = budget_of(Device(each_token({32: 1.0, 64: 1.6})))
    window = [Row(cast("Work", None), 0, Chunk({}, 32 + at % 2), at) for at in range(8)]

    batch = grow(window, budget)

    assert (batch.rows, batch.reason) == ([window[0]], "tokens")
    assert budget.overhead == 0


@pytest.mark.parametrize("times", [1, 3, 5])
def test_a_disturbed_lone_row_hides_nothing(times: int) -> None:
    # The first pass is never timed.
    assert budget_of(Disturbed(each_token({32: 1.0, 64: 1.6}), 32, times)).tokens == 32


@pytest.mark.parametrize("size", [128, 256, 512])
def test_a_disturbed_batch_spoils_no_others(size: int) -> None:
    # Larger than the best, and as slow as to lose to lone rows: it is looked at again.
    device = Disturbed(each_token({32: 1.0, 64: 0.5, 128: 0.6}), size, 3)

    learned = device.probe(512)

    assert device.times == 0
    assert learned == Learned(tokens=64, overhead=32)


def test_nothing_is_learned_while_others_use_the_processor() -> None:
    sizes = [32 << doubling for doubling in range(12)]
    cost = each_token({32: 1.0, 64: 0.5, 128: 0.6})

    assert Shared(cost, sizes, 0.67).probe(512) is None
    # Long passes are disturbed, short ones are done before others have their turn.
    assert Shared(cost, sizes[3:], 0.5).probe(512) is None
    assert Shared(cost, sizes, 0.9).probe(512) is not None


def test_nothing_is_learned_if_the_last_look_was_disturbed() -> None:
    class Late(Shared):
        def share(self, tokens: int) -> float:
            return 0.5 if self.passes.count(256) > 2 else 1.0

    cost = each_token({32: 1.0, 64: 0.5, 128: 0.6, 256: 1.2})

    assert Late(cost, [], 1.0).probe(512) is None
    assert Shared(cost, [], 1.0).probe(512) == Learned(tokens=64, overhead=32, most=128)


def test_a_thread_that_waits_is_one_whose_processor_is_taken() -> None:
    def forward(rows: Sequence[Chunk]) -> None:
        time.sleep(0.001 * len(rows))

    def sample(length: int) -> Chunk:
        return Chunk({}, length)

    assert probe(forward, sample, computed=time.thread_time) is None
    # It is right to wait for another device.
    assert probe(forward, sample) is not None


def test_a_learned_budget_is_kept_and_not_probed_again(tmp_path: Path) -> None:
    default = Budget(tokens=1024, rows=64, overhead=16)
    file = tmp_path / "deep" / "budgets.json"
    first = Budgets(default, file)
    assert first.of(KEY) == default

    first.learn(KEY, "m@1 cpu", lambda: Learned(tokens=512, overhead=7, most=128))
    second = Budgets(default, file)
    second.learn(KEY, "m@1 cpu", lambda: pytest.fail("it was probed again"))

    for budgets in (first, second):
        assert budgets.of(KEY) == Budget(tokens=128, rows=64, overhead=7)


def test_a_budget_that_was_kept_without_a_bound_is_read(tmp_path: Path) -> None:
    file = tmp_path / "budgets.json"
    file.write_text('{"m": {"tokens": 1024, "overhead": 7}}')
    budgets = Budgets(Budget(tokens=1024), file)

    budgets.learn(KEY, "m", lambda: pytest.fail("it was probed again"))

    assert budgets.of(KEY) == Budget(tokens=1024, overhead=7)


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
