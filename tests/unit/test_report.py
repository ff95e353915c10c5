"""A table of the bench tells when it must not be used: who is lacking, what beats the default."""

from benchmarks.figures import Figure
from benchmarks.picture import RATIO
from benchmarks.report import Row, absent, losing
from benchmarks.suites.texts import outdone


def row(system: str, setting: str, *ratios: float) -> Row:
    return Row(
        case="mixed", system=system, setting=setting, figures={RATIO: Figure(ratios, "×", 2)}
    )


def lacking(case: str) -> Row:
    return Row(case=case, system="mosec", note="could not be installed here: no wheel")


def test_a_peer_that_is_lacking_is_one_problem_however_many_rows_it_has() -> None:
    rows = [row("Stoker", "default", 1.0), lacking("mixed"), lacking("short")]

    assert absent(rows, install=True) == ["mosec is lacking: could not be installed here: no wheel"]


def test_a_peer_that_is_left_out_on_purpose_is_none() -> None:
    assert absent([lacking("mixed")], install=False) == []


def test_a_setting_that_beats_the_default_by_more_than_noise_is_a_problem() -> None:
    rows = [
        row("Stoker", "default", 1.0, 1.0),
        row("Stoker", "one job a pass", 0.8, 0.9),
        row("mosec", "batch 8", 0.5, 0.5),
        lacking("mixed"),
    ]

    assert outdone(rows) == ["mixed: Stoker is faster with one job a pass than at its default"]
    assert outdone([rows[0], row("Stoker", "one job a pass", 0.96, 0.97)]) == []


def test_a_difference_within_noise_is_even() -> None:
    said = [losing(Figure((ratio,), "×")) for ratio in (0.94, 0.96, 1.04, 1.06)]

    assert said == ["Stoker loses", "even, but for noise", "even, but for noise", ""]
