"""The corpus of demo and bench: the same texts on every machine with the same Python."""

import subprocess
import sys

from stoker.demo.corpus import Paragraph, load_corpus, summarize


def test_it_is_the_language_reference_by_paragraph() -> None:
    corpus = load_corpus()
    summary = summarize(corpus)

    # Other Python versions have a little more or less to say.
    assert 2300 < summary.texts < 3500
    assert 14 <= summary.median_words <= 18
    assert 700 < summary.longest_words < 900
    assert len({paragraph.topic for paragraph in corpus}) > 70


def test_no_text_is_empty_and_words_are_parted_by_single_spaces() -> None:
    for paragraph in load_corpus():
        assert paragraph.text
        assert paragraph.text == " ".join(paragraph.text.split())


def test_another_process_reads_the_same() -> None:
    code = "from stoker.demo.corpus import *; print(summarize(load_corpus()).sha256)"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()

    assert other == summarize(load_corpus()).sha256


def test_the_hash_sees_texts_topics_and_their_order() -> None:
    one, two = Paragraph("a", "first"), Paragraph("b", "second")
    variants = [(one, two), (two, one), (one,), (one, Paragraph("c", "second"))]

    assert len({summarize(variant).sha256 for variant in variants}) == len(variants)
