"""The three mixes of texts that are measured, all out of the demo's corpus."""

import hashlib
import random
import re
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from stoker.demo.corpus import load_corpus

# Every so many paragraphs one is taken: 522 of CPython 3.11's.
_STEP: Final = 5
_SHORT: Final = range(4, 17)
_LONG_EVERY: Final = 64
_LONG_WORDS: Final = 300


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Texts to be run, in the order in which they are submitted.

    Attributes:
        name: What the table calls it.
        about: What is in it.
        texts: The texts.
    """

    name: str
    about: str
    texts: tuple[str, ...]

    def first(self, count: int) -> tuple[str, ...]:
        """Give its first texts; all if there are not so many."""
        return self.texts[:count]

    def to_json(self) -> dict[str, Any]:
        """Say what tells it from another."""
        words = [len(text.split()) for text in self.texts]
        digest = hashlib.sha256("\n".join(self.texts).encode()).hexdigest()
        return {
            "about": self.about,
            "texts": len(words),
            "median_words": median(words),
            "longest_words": max(words),
            "sha256": digest,
        }


def mixes(count: int, seed: int) -> tuple[Mix, ...]:
    """Make the three mixes.

    Args:
        count: How many texts each has at most.
        seed: Of their order.
    """
    order = random.Random(seed)
    corpus = [paragraph.text for paragraph in load_corpus()]
    mixed = corpus[::_STEP]
    sentences = [each for text in corpus for each in re.split(r"(?<=[.!?])\s+", text)]
    short = sorted({each for each in sentences if len(each.split()) in _SHORT})
    for texts in (mixed, short):
        order.shuffle(texts)
    return (
        Mix(
            name="mixed",
            about="every fifth paragraph of the Python language reference, shuffled",
            texts=tuple(mixed[:count]),
        ),
        Mix(
            name="short",
            about=f"its sentences of {_SHORT.start} to {_SHORT.stop - 1} words, shuffled",
            texts=tuple(short[:count]),
        ),
        Mix(
            name="1 in 64 long",
            about=f"the same, but every 64th is {_LONG_WORDS} words of running text",
            texts=tuple(_with_long_ones(short[:count], " ".join(corpus).split())),
        ),
    )


def _with_long_ones(short: list[str], words: list[str]) -> list[str]:
    def long(number: int) -> str:
        return " ".join(words[number * _LONG_WORDS : (number + 1) * _LONG_WORDS])

    return [
        long(at // _LONG_EVERY) if at % _LONG_EVERY == _LONG_EVERY // 2 else text
        for at, text in enumerate(short)
    ]
