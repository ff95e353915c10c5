"""The fixed questions of the demo and what must be found."""

from dataclasses import dataclass
from typing import Final

# How many of the nearest paragraphs count as found.
NEAREST: Final = 3


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the topic of the reference that answers it.

    Attributes:
        text: What is asked. The topic's name is not in it: a search for words would not find it.
        topic: The topic that must be among those of the nearest paragraphs.
    """

    text: str
    topic: str


QUESTIONS: Final = (
    Question("What is an anonymous function?", "lambda"),
    Question("How do I delete an item from a list?", "del"),
    Question("How do I catch errors?", "try"),
)

PROMPT: Final = "What is the capital of France?"
MUST_SAY: Final = "Paris"
