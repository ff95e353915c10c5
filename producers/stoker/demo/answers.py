"""Answers out of stored results alone; run as a process, it has nothing but the IDs of jobs.

    python -m stoker.demo.answers FOLDER

reads the job IDs that the producer left in FOLDER, and writes what it finds to FOLDER too.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import mul
from pathlib import Path
from typing import Any, Final

from stoker import Client, Failure, Success
from stoker.demo.questions import MUST_SAY, NEAREST

IDS: Final = "jobs.json"
FIRST: Final = "answers.json"
AGAIN: Final = "answers-again.json"
# Vectors on the wire are float32; a sum over them is the same to this many digits everywhere.
_DIGITS: Final = 4


@dataclass(frozen=True)
class JobIds:
    """The IDs of the demo's jobs: all that a second process is told.

    Attributes:
        paragraphs: One job for each text of the corpus.
        questions: One job for each question.
        chat: The chat prompt's job.
    """

    paragraphs: list[str]
    questions: list[str]
    chat: str


@dataclass(frozen=True)
class Found:
    """One paragraph that was found, under all topics where it stands."""

    topics: list[str]
    score: float
    excerpt: str


@dataclass(frozen=True)
class Answer:
    """What was found for one question, nearest first."""

    question: str
    expected: str
    found: list[Found]

    @property
    def right(self) -> bool:
        """Whether the expected topic is among those found."""
        return any(self.expected in found.topics for found in self.found)


@dataclass(frozen=True)
class Answers:
    """All that the demo has to say in the end."""

    questions: list[Answer]
    chat: str

    @property
    def right(self) -> bool:
        """Whether all of it is what a person would expect."""
        return all(answer.right for answer in self.questions) and MUST_SAY in self.chat

    def to_json(self) -> str:
        """Give a form in which two processes can be compared."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def answer(paragraphs: Sequence[Success], questions: Sequence[Success], chat: Success) -> Answers:
    """Find the answers.

    Args:
        paragraphs: The results of the corpus, with topic, text's digest and excerpt as metadata.
        questions: The results of the questions, with question and expected topic as metadata.
        chat: The chat's result.
    """
    return Answers(
        questions=[
            Answer(
                question=question.metadata["question"],
                expected=question.metadata["topic"],
                found=nearest(question.output, paragraphs),
            )
            for question in questions
        ],
        chat=chat.output[0]["generated_text"][-1]["content"].strip(),
    )


def nearest(vector: Sequence[float], paragraphs: Sequence[Success]) -> list[Found]:
    """Find the paragraphs nearest to a vector; all vectors are of length 1.

    A text that stands under several topics is one paragraph.
    """
    topics: dict[str, list[str]] = {}
    best: dict[str, tuple[float, str]] = {}
    for paragraph in paragraphs:
        said = paragraph.metadata
        topics.setdefault(said["digest"], []).append(said["topic"])
        score = round(sum(map(mul, vector, paragraph.output)), _DIGITS)
        best.setdefault(said["digest"], (score, said["excerpt"]))
    ranked = sorted(best, key=lambda digest: (-best[digest][0], digest))
    return [Found(topics[digest], *best[digest]) for digest in ranked[:NEAREST]]


def read_results(client: Client, ids: Sequence[str]) -> list[Success]:
    """Read the results of finished jobs, in the order of their IDs.

    Raises:
        StokerError: One of them failed.
        TimeoutError: One of them is not there.
    """
    results: dict[str, Success] = {}
    for handle, result in client.as_completed([client.handle(each) for each in ids], timeout=60):
        if isinstance(result, Failure):
            raise result.to_error()
        results[handle.id] = result
    return [results[each] for each in ids]


def main(arguments: Sequence[str]) -> int:
    """Answer from the results of the jobs that a folder names."""
    folder = Path(arguments[0])
    ids = JobIds(**_read(folder / IDS))
    with Client() as client:
        answers = answer(
            read_results(client, ids.paragraphs),
            read_results(client, ids.questions),
            read_results(client, [ids.chat])[0],
        )
    (folder / AGAIN).write_text(answers.to_json(), encoding="utf-8")
    return 0


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
