"""The pauses of a supervisor between the deaths of a worker process and its next starts."""

from stoker_workers.supervisor import Pauses


def test_pauses_double_with_each_death_up_to_a_minute() -> None:
    pauses = Pauses()

    given = [pauses.after(lived=1.0) for _ in range(12)]

    assert given[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert set(given[7:]) == {60.0}


def test_a_worker_that_lived_for_more_than_a_minute_begins_a_new_series() -> None:
    pauses = Pauses()
    for _ in range(9):
        pauses.after(lived=1.0)

    assert pauses.after(lived=59.0) == 60.0
    assert [pauses.after(lived) for lived in (61.0, 1.0, 1.0)] == [0.5, 1.0, 2.0]
