"""Fresh URLs for what an event's result refers to: made for each attempt, since they expire."""

import json
from typing import Any

from stoker_config.artifacts import SCHEME, ArtifactStore
from stoker_tasks.errors import StokerError
from stoker_tasks.result import referenced


def refers(body: bytes) -> bool:
    """Tell whether an event may refer to an artifact: a quick look, since few do."""
    return f'"{SCHEME}'.encode() in body


def with_links(body: bytes, store: ArtifactStore) -> bytes:
    """Add `urls` to an event's data: for each artifact of its result, where to read it.

    Args:
        body: The event, as it lies in the outbox.
        store: Where artifacts are.

    Returns:
        The event; unchanged if it refers to nothing.
    """
    event = json.loads(body)
    urls = {}
    for uri in _named(event["data"].get("result")):
        try:
            urls[uri] = store.presign(uri)
        except StokerError:
            continue  # it has expired, or is where no URL leads to
    if not urls:
        return body
    event["data"]["urls"] = urls
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _named(result: Any) -> list[str]:
    """List the artifacts that the worker has named; a text of the caller's own names none."""
    if not isinstance(result, dict) or result.get("status") != "succeeded":
        return []
    named = [str(each["uri"]) for each in result["artifacts"]]
    whole = referenced(result["output"])
    return [*named, whole] if whole else named
