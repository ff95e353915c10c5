"""Where the bytes of an image, a sound or a film are found."""

import base64
import binascii
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Media(BaseModel):
    """The bytes of one file, inline or in the artifact store: exactly one of the two.

    In Python, `bytes` and a `pathlib.Path` are taken as well and turned into this form where the
    job is made. A plain string is refused: it could be a path, a URL or base64.

    Attributes:
        base64: The file's bytes as standard base64 (RFC 4648, section 4).
        uri: The name of an artifact, as the artifact store gave it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base64: str | None = Field(default=None, repr=False)
    uri: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_python(cls, value: Any) -> Any:
        if isinstance(value, Path):
            value = value.read_bytes()
        if isinstance(value, bytes):
            return {"base64": base64.b64encode(value).decode("ascii")}
        if isinstance(value, str):
            raise ValueError(
                'give bytes, a pathlib.Path, {"base64": …} or {"uri": …}, not a string'
            )
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.base64 is None) == (self.uri is None):
            raise ValueError("give exactly one of base64 and uri")
        return self

    def inline_bytes(self) -> bytes | None:
        """Decode the bytes that travel in the message.

        Returns:
            The bytes, or None where they are in the artifact store.

        Raises:
            ValueError: The text is not base64.
        """
        if self.base64 is None:
            return None
        try:
            return base64.b64decode(self.base64, validate=True)
        except binascii.Error as error:
            raise ValueError(f"not valid base64: {error}") from None


def media_in(inputs: Any) -> list[Media]:
    """List the files that a job's checked inputs name, however deep they stand."""
    found: list[Media] = []

    def keep(media: Media) -> Media:
        found.append(media)
        return media

    with_media(inputs, keep)
    return found


def with_media(inputs: Any, change: Callable[[Media], Media]) -> Any:
    """Give checked inputs with each file in them replaced by what `change` makes of it."""
    if isinstance(inputs, Media):
        return change(inputs)
    if isinstance(inputs, BaseModel):
        fields = {name: getattr(inputs, name) for name in inputs.model_fields_set}
        return inputs.model_copy(
            update={name: with_media(each, change) for name, each in fields.items()}
        )
    if isinstance(inputs, dict):
        return {name: with_media(each, change) for name, each in inputs.items()}
    if isinstance(inputs, list):
        return [with_media(each, change) for each in inputs]
    return inputs


if TYPE_CHECKING:
    # What Python callers may write; validation turns it into `Media`.
    MediaInput = Media | bytes | Path
else:
    MediaInput = Media
