"""The claim check: large inputs go to the artifact store, and their name travels."""

import base64
import json
from typing import Any

from stoker_config.artifacts import ArtifactStore
from stoker_tasks.job import Job
from stoker_tasks.media import Media
from stoker_tasks.wire import CLAIM_FIELD, to_kwargs

# A character takes at most six bytes of JSON.
_BYTES_A_CHARACTER = 6


def pack(job: Job, store: ArtifactStore, inline_limit: int) -> dict[str, Any]:
    """Give the keyword arguments of a job's message.

    Args:
        job: The job.
        store: Where large inputs go.
        inline_limit: Bytes up to which inputs stay in the message: of a file's own bytes, or of
            the JSON of anything else.

    Returns:
        The arguments; large files are named by `uri`, other large inputs by `claim`.

    Raises:
        TooLarge: The store does not take the inputs.
    """
    kwargs = to_kwargs(job)
    inputs = job.inputs
    if isinstance(inputs, str) and len(inputs) * _BYTES_A_CHARACTER <= inline_limit:
        return kwargs
    if isinstance(inputs, Media):
        kwargs["inputs"] = _pack_media(kwargs["inputs"], store, inline_limit)
    elif isinstance(inputs, list) and isinstance(inputs[0], Media):
        kwargs["inputs"] = [_pack_media(each, store, inline_limit) for each in kwargs["inputs"]]
    raw = json.dumps(kwargs["inputs"], ensure_ascii=False).encode()
    # An inline file of the limit's size is a third larger as base64.
    limit = inline_limit if not isinstance(inputs, Media) else 2 * inline_limit
    if len(raw) > limit:
        del kwargs["inputs"]
        kwargs[CLAIM_FIELD] = store.put(raw)
    return kwargs


def _pack_media(media: dict[str, str], store: ArtifactStore, inline_limit: int) -> dict[str, str]:
    if "base64" not in media or len(media["base64"]) * 3 // 4 <= inline_limit:
        return media
    return {"uri": store.put(base64.b64decode(media["base64"]))}
