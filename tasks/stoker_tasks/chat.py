"""Chats whose messages hold texts, images, sounds and films.

Extra keys are refused: transformers would open what a caller calls `url` or `path`.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from stoker_tasks.media import MediaInput
from stoker_tasks.strict import Strict


class TextPart(Strict):
    """A part of a message that is text."""

    type: Literal["text"]
    text: str = Field(repr=False)


class ImagePart(Strict):
    """A part of a message that is an image: the bytes of its file."""

    type: Literal["image"]
    image: MediaInput = Field(repr=False)


class AudioPart(Strict):
    """A part of a message that is a sound: the bytes of its file."""

    type: Literal["audio"]
    audio: MediaInput = Field(repr=False)


class VideoPart(Strict):
    """A part of a message that is a film: the bytes of its file."""

    type: Literal["video"]
    video: MediaInput = Field(repr=False)


SeenPart = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]
AnyPart = Annotated[TextPart | ImagePart | AudioPart | VideoPart, Field(discriminator="type")]


class SeenMessage(Strict):
    """One message of a chat about texts, images and films."""

    role: str
    content: str | Annotated[list[SeenPart], Field(min_length=1)] = Field(repr=False)


class AnyMessage(Strict):
    """One message of a chat about texts, images, sounds and films."""

    role: str
    content: str | Annotated[list[AnyPart], Field(min_length=1)] = Field(repr=False)


# What a model's chat template reads beside the messages: tools, documents.
BesideChat = Annotated[list[dict[str, JsonValue]], Field(min_length=1)]
SeenChat = Annotated[list[SeenMessage], Field(min_length=1)]
AnyChat = Annotated[list[AnyMessage], Field(min_length=1)]
