"""The bench's latencies come round by round, by one schedule for all systems."""

import pytest

from benchmarks.options import Options
from benchmarks.suites.latency import schedule, waited


def test_all_rounds_together_have_the_arrivals_of_a_point() -> None:
    options = Options(rounds=3, arrivals=2000)
    rounds = [schedule(options, number, rate=20.0) for number in range(3)]

    assert 2000 <= sum(map(len, rounds)) < 2003
    for due in rounds:
        assert due == sorted(due)
        assert len(due) / due[-1] == pytest.approx(20.0, rel=0.15)


def test_a_round_has_a_schedule_of_its_own_and_the_same_each_time() -> None:
    options = Options()

    assert schedule(options, 0, rate=5.0) == schedule(options, 0, rate=5.0)
    assert schedule(options, 0, rate=5.0) != schedule(options, 1, rate=5.0)


def test_percentiles_are_taken_in_each_round_and_shown_with_their_range() -> None:
    figures = waited([[0.001] * 98 + [0.5, 0.5], [0.002] * 100, [0.003] * 100])

    assert str(figures["p50"]) == "2.0 (1.0–3.0) ms"
    assert str(figures["p99"]) == "3.0 (2.0–500.0) ms"
