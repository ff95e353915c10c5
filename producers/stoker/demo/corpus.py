"""The corpus of demo and bench: the language reference inside every Python, by paragraph."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pydoc_data.topics import topics
from statistics import median


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One text of the corpus.

    Attributes:
        topic: The topic of `help()` under which it stands.
        text: Its words, with single spaces between them.
    """

    topic: str
    text: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What tells one corpus from another: the reference differs between Python versions.

    Attributes:
        texts: How many texts.
        median_words: Words of the middle one by length.
        longest_words: Words of the longest one.
        sha256: Over all topics and texts, in order, in hexadecimal.
    """

    texts: int
    median_words: int
    longest_words: int
    sha256: str


def load_corpus() -> tuple[Paragraph, ...]:
    """Read this Python's language reference.

    Returns:
        Its paragraphs (what blank lines part), in alphabetical order of topics. Some stand under
        two topics and are there twice.
    """
    return tuple(
        Paragraph(topic, " ".join(words))
        for topic in sorted(topics)
        for block in re.split(r"\n\s*\n", topics[topic])
        if (words := block.split())
    )


def summarize(corpus: Sequence[Paragraph]) -> Summary:
    """Measure a corpus that has at least one text."""
    digest = hashlib.sha256()
    for paragraph in corpus:
        digest.update(f"{paragraph.topic}\n{paragraph.text}\n".encode())
    lengths = [len(paragraph.text.split()) for paragraph in corpus]
    return Summary(
        texts=len(corpus),
        median_words=round(median(lengths)),
        longest_words=max(lengths),
        sha256=digest.hexdigest(),
    )
