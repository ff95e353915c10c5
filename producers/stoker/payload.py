"""The claim check: large inputs go to the artifact store, and their name travels."""

import json
from typing import Any

from stoker_config.artifacts import ArtifactStore
from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_tasks.media import Media, with_media
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
        InvalidInput: A file is not base64.
        TooLarge: The store does not take the inputs.
    """
    if isinstance(job.inputs, str) and len(job.inputs) * _BYTES_A_CHARACTER <= inline_limit:
        return to_kwargs(job)
    files = 0

    def pack_file(media: Media) -> Media:
        nonlocal files
        files += 1
        try:
            data = media.inline_bytes()
        except ValueError as error:
            raise InvalidInput(f"{job.task}: inputs: {error}") from None
        return media if data is None or len(data) <= inline_limit else Media(uri=store.put(data))

    kwargs = to_kwargs(job.model_copy(update={"inputs": with_media(job.inputs, pack_file)}))
    raw = json.dumps(kwargs["inputs"], ensure_ascii=False).encode()
    # An inline file of the limit's size is a third larger as base64.
    if len(raw) > (2 * inline_limit if files else inline_limit):
        del kwargs["inputs"]
        kwargs[CLAIM_FIELD] = store.put(raw)
    return kwargs
