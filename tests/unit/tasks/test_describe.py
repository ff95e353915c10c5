"""Types and docstrings, read as words."""

from typing import Any

from pydantic import BaseModel

from stoker_tasks.catalog import CATALOG, find
from stoker_tasks.describe import (
    attribute_docs,
    fields_of,
    output_words,
    parameters_of,
    takes_media,
)


class Base(BaseModel):
    """A base.

    Attributes:
        kept: In the base's words.
        said_anew: In the base's words.

    Raises:
        ValueError: This is no attribute.
    """

    kept: int = 0
    said_anew: str | None = None


class Derived(Base):
    """What is derived.

    Attributes:
        said_anew: In words that
            go on.
        own: `a: b` stands in it.
    """

    own: list[dict[str, Any]]


def test_docs_are_inherited_and_replaced() -> None:
    docs = attribute_docs(Derived)

    assert docs["kept"] == "In the base's words."
    assert docs["said_anew"] == "In words that go on."
    assert docs["own"] == "`a: b` stands in it."
    assert "ValueError" not in docs


def test_fields_keep_their_order_and_say_what_must_be_given() -> None:
    fields = fields_of(Derived)

    assert [(each.name, each.type, each.required) for each in fields] == [
        ("kept", "integer", False),
        ("said_anew", "string", False),
        ("own", "list of object", True),
    ]


def test_bounds_choices_and_nested_settings_are_told() -> None:
    words = {each.name: each.type for each in parameters_of(find("fill-mask"))}
    speech = {each.name: each.type for each in parameters_of(find("automatic-speech-recognition"))}

    assert words["top_k"] == "integer ≥ 1"
    assert words["targets"] == "string or list of string"
    assert words["tokenizer_kwargs"] == "object of truncation, max_length"
    assert speech["return_timestamps"] == 'boolean or "word" or "char"'
    assert speech["stride_length_s"] == "number or list of number (2 of them)"


def test_every_task_has_an_output_in_words() -> None:
    sketches = {name: output_words(spec) for name, spec in CATALOG.items()}

    assert sketches["text-classification"] == '[{"label": string, "score": number}, …]'
    assert '"chunks"?: [{…}, …]' in sketches["automatic-speech-recognition"]
    assert not any("anything" in sketch for sketch in sketches.values())


def test_tasks_that_take_a_file_are_known() -> None:
    taking = {name for name, spec in CATALOG.items() if takes_media(spec)}

    assert taking == {
        "audio-classification",
        "automatic-speech-recognition",
        "depth-estimation",
        "image-classification",
        "image-feature-extraction",
        "image-segmentation",
        "image-to-image",
        "image-to-text",
        "mask-generation",
        "object-detection",
        "video-classification",
        "zero-shot-audio-classification",
        "zero-shot-image-classification",
        "zero-shot-object-detection",
    }
