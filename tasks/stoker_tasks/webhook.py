"""Where a caller wants to be told of a job, and of what: the job's field `webhook`."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from stoker_tasks.strict import Strict

EventType = Literal["job.started", "job.output", "job.completed"]

_URL_LENGTH: Final = 2048
# What may stand in a URL (RFC 3986); all else has to be percent-encoded.
_URL: Final = re.compile(r"[!-~]+")
_PORTS: Final = {"http": 80, "https": 443}


class Webhook(Strict):
    """A receiver of what becomes of a job, told by Standard Webhooks 1.0.0.

    A plain string stands for its URL.

    Attributes:
        url: Where events are posted to: `http://` or `https://`, without a user name or password.
        events: Which events are sent: `job.started`, `job.output` (new text of a job that
            generates one) and `job.completed`.
        secret: The name of the secrets that sign them, as the deployment's operator has it: of a
            tenant, or of an endpoint.
    """

    # It may hold a caller's own token.
    url: str = Field(repr=False, min_length=1, max_length=_URL_LENGTH)
    events: tuple[EventType, ...] = Field(default=("job.completed",), min_length=1)
    secret: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")] = "default"

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        origin_of(url)
        return url

    @field_validator("events")
    @classmethod
    def _each_once(cls, events: tuple[EventType, ...]) -> tuple[EventType, ...]:
        return tuple(dict.fromkeys(events))


def origin_of(url: str) -> str:
    """Give the scheme, host and port of a receiver's URL, in one spelling.

    Raises:
        ValueError: The URL is none to which events can be posted. The message does not quote it.
    """
    if not _URL.fullmatch(url):
        raise ValueError("must be a URL of ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("must be a URL: its host or its port is none") from None
    if parts.scheme not in _PORTS or not host:
        raise ValueError("must be a URL that begins with http:// or https:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must be a URL without a user name or password: events are signed instead")
    if parts.fragment:
        raise ValueError("must be a URL without a fragment (#), which is never sent")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port or _PORTS[parts.scheme]}"


if TYPE_CHECKING:
    # What Python callers may write; validation turns it into `Webhook`.
    WebhookInput = Webhook | str
else:
    WebhookInput = Webhook
