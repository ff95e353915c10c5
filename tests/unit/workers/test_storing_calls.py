"""Results are stored in calls of a bounded size, each once and in order."""

from stoker_workers.broker.results import Stored, calls


def stored(sizes: list[int]) -> list[Stored]:
    return [
        Stored(job=f"j{at}", key=f"k{at}", value="x" * size, expires=0)
        for at, size in enumerate(sizes)
    ]


def test_a_call_has_so_many_results_at_most() -> None:
    given = stored([1] * 1100)

    parted = list(calls(given))

    assert [len(call) for call in parted] == [500, 500, 100]
    assert [each for call in parted for each in call] == given


def test_a_call_has_so_many_bytes_at_most_but_for_one_result_that_has_more() -> None:
    mib = 1024 * 1024
    parted = list(calls(stored([3 * mib, 3 * mib, 3 * mib, 9 * mib, 1])))

    assert [[each.job for each in call] for call in parted] == [
        ["j0", "j1"],
        ["j2"],
        ["j3"],
        ["j4"],
    ]
