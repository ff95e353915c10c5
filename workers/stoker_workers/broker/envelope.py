"""kombu's envelopes: read quickly, and refused where kombu's own reading would end the worker."""

import json
from contextlib import suppress
from typing import Any, Final

from kombu.transport import virtual
from pydantic_core import from_json

# What reading a message raises that no producer of kombu's has made.
NO_ENVELOPE: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)

# What a message of JSON says of its body.
_JSON: Final = ("application/json", "utf-8")


class Message(virtual.Message):
    """A message whose JSON is read quickly."""

    def _decode(self) -> Any:
        body = self.body
        # What names a type of kombu's own is left to kombu, and so is what makes no sense.
        if (
            (self.content_type, self.content_encoding) == _JSON
            and self.accept is not None
            and _JSON[0] in self.accept
            and isinstance(body, bytes)
            and b'"__type__"' not in body
        ):
            with suppress(ValueError):
                return from_json(body, cache_strings="keys")
        return super()._decode()


def read_envelope(text: Any) -> Any:
    """Read an envelope, and make sure that kombu can make a message of it.

    Args:
        text: The envelope, as it lies on its list.

    Raises:
        ValueError: It is no envelope; or another of `NO_ENVELOPE`.
    """
    try:
        message = from_json(text, cache_strings="keys")
    except ValueError:
        message = json.loads(text)  # knows more: halves of surrogate pairs, deeper nesting
    headers, properties = message.get("headers") or {}, message["properties"]
    for value in (headers, properties, properties.get("delivery_info")):
        if value is not None and type(value) is not dict:
            raise TypeError
    job_id = headers.get("id")
    if isinstance(job_id, str) and not job_id.isascii():
        job_id.encode()  # half of a surrogate pair: no key of Redis's could be made of it
    for name in ("content-type", "content-encoding"):
        value = message.get(name)
        if value is not None and type(value) is not str:
            raise TypeError
    return message
