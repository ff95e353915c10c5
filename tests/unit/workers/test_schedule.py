"""The schedule of attempts is that of Standard Webhooks' example, and receivers may lengthen it."""

from datetime import UTC, datetime

import pytest

from stoker_workers.webhooks.schedule import DELAYS, next_delay, retry_after


def test_the_schedule_is_the_standards() -> None:
    waits = [next_delay(failed, draw=lambda: 0.0) for failed in range(len(DELAYS) + 1)]

    assert waits == [0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400, None]
    # The standard's table ends with the tenth attempt after 75 h 35 min 5 s.
    assert sum(DELAYS) == ((75 * 60) + 35) * 60 + 5


def test_a_delay_is_lengthened_a_little_and_by_lot() -> None:
    assert next_delay(2, draw=lambda: 1.0) == pytest.approx(330)
    drawn = {next_delay(2) for _ in range(20)}
    assert len(drawn) > 1
    assert all(each is not None and 300 <= each <= 330 for each in drawn)


def test_a_receiver_may_ask_for_a_longer_delay_but_not_for_any() -> None:
    assert next_delay(1, 60, lambda: 0.0) == 60
    assert next_delay(2, 60, lambda: 0.0) == 300
    assert next_delay(1, 10**9, lambda: 0.0) == 86_400
    assert next_delay(len(DELAYS), 60) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120),
        (" 7 ", 7),
        ("9" * 5000, 999_999_999),
        ("-5", None),
        ("soon", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 3599),
        ("Fri, 31 Dec 1999 20:00:00 GMT", 0),
    ],
)
def test_retry_after_is_read_in_both_its_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, datetime(1999, 12, 31, 23, 0, tzinfo=UTC)) == seconds
