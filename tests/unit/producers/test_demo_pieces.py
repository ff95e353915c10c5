"""The demo's sums: what it measures, what it finds, and that a wrong answer is called wrong."""

import pytest

from stoker import Success, Timing
from stoker.demo.answers import Answers, answer, nearest
from stoker.demo.questions import QUESTIONS
from stoker.demo.report import measure, percentile


def paragraph(topic: str, digest: str, vector: list[float]) -> Success:
    metadata = {"topic": topic, "digest": digest, "excerpt": f"about {topic}"}
    return Success(output=vector, task="feature-extraction", model="m@local", metadata=metadata)


def question(text: str, topic: str, vector: list[float]) -> Success:
    metadata = {"question": text, "topic": topic}
    return Success(output=vector, task="feature-extraction", model="m@local", metadata=metadata)


def chat(said: str) -> Success:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]
    output = [{"generated_text": messages}]
    return Success(output=output, task="text-generation", model="m@local")


def test_the_nearest_come_first_and_a_text_of_two_topics_counts_once() -> None:
    found = nearest(
        [1.0, 0.0],
        [
            paragraph("far", "1", [0.0, 1.0]),
            paragraph("near", "2", [0.8, 0.6]),
            paragraph("nearest", "3", [1.0, 0.0]),
            paragraph("twin", "3", [1.0, 0.0]),
            paragraph("away", "4", [-1.0, 0.0]),
        ],
    )

    assert [each.topics for each in found] == [["nearest", "twin"], ["near"], ["far"]]
    assert [each.score for each in found] == [1.0, 0.8, 0.0]


@pytest.mark.parametrize(
    ("expected", "said", "right"),
    [
        ("near", "It is Paris.", True),
        ("other", "It is Paris.", False),
        ("near", "It is Lyon.", False),
    ],
)
def test_an_answer_is_right_only_if_all_of_it_is(expected: str, said: str, right: bool) -> None:
    answers = answer(
        [paragraph("near", "1", [1.0])], [question("what?", expected, [1.0])], chat(said)
    )

    assert answers.right is right


def test_the_same_answers_have_the_same_form() -> None:
    def once() -> Answers:
        return answer(
            [paragraph("near", "1", [1.0])], [question("what?", "near", [1.0])], chat("Paris")
        )

    assert once().to_json() == once().to_json()


def test_no_question_gives_its_topic_away() -> None:
    for each in QUESTIONS:
        assert each.topic not in each.text.lower().split()


def test_measures_are_sums_over_batches() -> None:
    timings = [
        Timing(batch="a", queue_ms=10, forward_ms=4, tokens=3, padded_tokens=4),
        Timing(batch="a", queue_ms=20, forward_ms=4, tokens=4, padded_tokens=4),
        Timing(batch="b", queue_ms=30, forward_ms=8, tokens=2, padded_tokens=2),
    ]

    measures = measure(timings, seconds=1.5)

    assert (measures.jobs, measures.batches) == (3, 2)
    assert measures.mean_batch == 1.5
    assert measures.rate == 2.0
    assert measures.padding_efficiency == 0.9
    assert (measures.queue_p50, measures.queue_p99) == (20, 30)
    assert (measures.forward_p50, measures.forward_p99) == (4, 8)


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 201)]

    assert percentile(values, 50) == 100.0
    assert percentile(values, 99) == 198.0
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0
