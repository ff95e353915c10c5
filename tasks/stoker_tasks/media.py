"""Where the bytes of an image, a sound or a film are found."""

import base64
import binascii
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict

from pydantic import BaseModel, Field, model_validator

from stoker_tasks.strict import Strict

# How a file is given, for what a task says of its inputs.
FORMS: Final = 'in Python bytes or a pathlib.Path, as JSON {"base64"}, {"url"} or {"uri"}'

# What tasks that read files leave out of their pipelines' parameters.
FETCHED: Final = {
    "timeout": "the worker fetches all files itself, in the time that STOKER_FETCH_TIMEOUT gives it"
}

# No user and password before the host, and nothing in it that a parser might read in another way.
_WEB_URL: Final = re.compile(
    r"https?://(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?([/?][^\s\\#]*)?", re.I
)
_S3_URL: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.{1,1024}", re.DOTALL)
_LONGEST_URL: Final = 8192


class Media(Strict):
    """The bytes of one file, inline, in the artifact store or elsewhere: exactly one of these.

    In Python, `bytes` and a `pathlib.Path` are taken as well and turned into this form where the
    job is made. A plain string is refused: it could be a path, a URL or base64.

    Attributes:
        base64: The file's bytes as standard base64 (RFC 4648, section 4).
        uri: The name of an artifact, as the artifact store gave it.
        url: Where a worker fetches the file: `https://…`, `http://…` or `s3://BUCKET/KEY`. It may
            be signed, and is shown nowhere.
    """

    base64: str | None = Field(default=None, repr=False)
    uri: str | None = None
    url: str | None = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _from_python(cls, value: Any) -> Any:
        if isinstance(value, Path):
            value = value.read_bytes()
        if isinstance(value, bytes):
            return {"base64": base64.b64encode(value).decode("ascii")}
        if isinstance(value, str):
            raise ValueError(
                'give bytes, a pathlib.Path, {"base64": …}, {"url": …} or {"uri": …}, not a string'
            )
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if [self.base64, self.uri, self.url].count(None) != 2:
            raise ValueError("give exactly one of base64, url and uri")
        if self.url is not None and not _is_url(self.url):
            raise ValueError(
                "url must be https://HOST/…, http://HOST/… or s3://BUCKET/KEY, without a user, a "
                f"password, a fragment or spaces, and of at most {_LONGEST_URL} characters"
            )
        return self

    def inline_bytes(self) -> bytes | None:
        """Decode the bytes that travel in the message.

        Returns:
            The bytes, or None where they are in the artifact store or elsewhere.

        Raises:
            ValueError: The text is not base64.
        """
        if self.base64 is None:
            return None
        try:
            return base64.b64decode(self.base64, validate=True)
        except binascii.Error as error:
            raise ValueError(f"not valid base64: {error}") from None


def _is_url(text: str) -> bool:
    if len(text) > _LONGEST_URL or any(ord(each) < 32 for each in text):
        return False
    return bool(_WEB_URL.fullmatch(text) or _S3_URL.fullmatch(text))


class StoredImage(TypedDict):
    """An image in an output: a PNG file that is kept beside the result.

    Attributes:
        artifact: Its name in the artifact store.
        mime_type: `image/png`.
        size: Width and height in pixels.
        mode: What a pixel is, in Pillow's words: `RGB`, `L` (grey, 0 to 255), `1` (black or white).
    """

    artifact: str
    mime_type: str
    size: list[int]
    mode: str


class StoredArray(TypedDict):
    """A large array in an output: an NPY file that is kept beside the result.

    Attributes:
        artifact: Its name in the artifact store.
        mime_type: `application/x-npy`.
        shape: The length of each axis.
        dtype: The type of its numbers, in numpy's words.
    """

    artifact: str
    mime_type: str
    shape: list[int]
    dtype: str


def media_in(inputs: Any) -> list[Media]:
    """List the files that a job's checked inputs name, however deep they stand."""
    if isinstance(inputs, str):
        return []  # most jobs
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
