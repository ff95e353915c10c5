"""A job is refused for its size before anything is spent on it, with the limit it has passed."""

from typing import Any

import pytest

from stoker_tasks.errors import InvalidInput, StokerError, TooLarge
from stoker_tasks.job import Job
from stoker_tasks.limits import DEPTH, VALUES, Limits, check
from stoker_tasks.wire import make_job

LIMITS = Limits(items=10, text=100)


def classify(inputs: Any, **parameters: Any) -> Job:
    return make_job("text-classification", {"inputs": inputs, "parameters": parameters})


def chat(**more: Any) -> Job:
    """A chat, whose messages may have any further keys."""
    message = {"role": "user", "content": "hi", **more}
    return make_job("text-generation", {"inputs": [message]})


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


# The list of messages, the message, and what is in it.
WITHIN = DEPTH - 2


@pytest.mark.parametrize(
    "job",
    [
        classify("a" * 100),
        classify(["a" * 10] * 10),
        classify([{"text": "a" * 50, "text_pair": "b" * 50}]),
        chat(tools=nested(WITHIN)),
        make_job("image-classification", {"inputs": b"f" * 10_000}),
        make_job("image-classification", {"inputs": {"url": "https://h.test/" + "a" * 1000}}),
    ],
)
def test_what_is_within_the_limits_is_taken(job: Job) -> None:
    check(job, LIMITS)


@pytest.mark.parametrize(
    ("job", "error", "said"),
    [
        (classify("a" * 101), TooLarge, "STOKER_MAX_TEXT"),
        (classify(["a" * 51] * 2), TooLarge, "STOKER_MAX_TEXT"),
        (classify([{"text": "a" * 51, "text_pair": "b" * 50}]), TooLarge, "STOKER_MAX_TEXT"),
        (classify(["a"] * 11), TooLarge, "11 inputs in one job are more than 10"),
        (chat(tools=nested(WITHIN + 1)), InvalidInput, f"deeper than {DEPTH} levels"),
        (chat(tools=nested(5000)), InvalidInput, f"deeper than {DEPTH} levels"),
        (chat(tools={"a" * 101: 1}), TooLarge, "STOKER_MAX_TEXT"),
        (chat(tools=[0] * VALUES), TooLarge, f"more than {VALUES} values"),
    ],
)
def test_what_is_beyond_one_is_refused_by_its_name(
    job: Job, error: type[StokerError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        check(job, LIMITS)

    assert "limit" in caught.value.details
    assert job.task in caught.value.message


def test_parameters_count_as_well() -> None:
    labels = {"candidate_labels": ["a" * 51, "b" * 50]}
    job = make_job("zero-shot-classification", {"inputs": "a", "parameters": labels})

    with pytest.raises(TooLarge, match="STOKER_MAX_TEXT"):
        check(job, LIMITS)
