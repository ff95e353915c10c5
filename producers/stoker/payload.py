"""The claim check: large inputs and outputs are in the artifact store, and their name travels."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stoker_config.artifacts import ArtifactStore, gone
from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_tasks.limits import Limits, check
from stoker_tasks.media import Media, with_media
from stoker_tasks.result import Result, Success, referenced
from stoker_tasks.wire import CLAIM_FIELD, to_kwargs

# A character takes at most six bytes of JSON.
_BYTES_A_CHARACTER = 6


@dataclass(frozen=True, slots=True)
class Packed:
    """A job's inputs, ready to travel.

    Attributes:
        kwargs: The keyword arguments of its message.
        beside: The artifacts that travel beside it, which are this job's own.
    """

    kwargs: dict[str, Any] = field(repr=False)
    beside: tuple[str, ...] = ()


def pack(job: Job, store: Callable[[], ArtifactStore], inline_limit: int, limits: Limits) -> Packed:
    """Get a job ready to travel.

    Args:
        job: The job.
        store: Gives the store of large inputs; called if there are any.
        inline_limit: Bytes up to which inputs stay in the message: of a file's own bytes, or of
            the JSON of anything else.
        limits: How large a job may be.

    Returns:
        Its arguments and artifacts; large files are named by `uri`, other large inputs by `claim`.

    Raises:
        InvalidInput: A file is not base64, or the job nests too deep.
        TooLarge: The job is larger than the limits, or than the store takes.
    """
    check(job, limits)
    if isinstance(job.inputs, str) and len(job.inputs) * _BYTES_A_CHARACTER <= inline_limit:
        return Packed(to_kwargs(job))
    files = 0
    beside: list[str] = []

    def pack_file(media: Media) -> Media:
        nonlocal files
        files += 1
        try:
            data = media.inline_bytes()
        except ValueError as error:
            raise InvalidInput(f"{job.task}: inputs: {error}") from None
        if data is None or len(data) <= inline_limit:
            return media
        beside.append(store().put(data))
        return Media(uri=beside[-1])

    kwargs = to_kwargs(job.model_copy(update={"inputs": with_media(job.inputs, pack_file)}))
    raw = json.dumps(kwargs["inputs"], ensure_ascii=False).encode()
    # An inline file of the limit's size is a third larger as base64.
    if len(raw) > (2 * inline_limit if files else inline_limit):
        del kwargs["inputs"]
        kwargs[CLAIM_FIELD] = store().put(raw)
        beside.append(kwargs[CLAIM_FIELD])
    return Packed(kwargs, tuple(beside))


def unpack(result: Result, store: Callable[[], ArtifactStore]) -> Result:
    """Put an output back that was too large for its result.

    Args:
        result: A result as it was stored.
        store: Gives the store of large outputs; called if there is one.

    Raises:
        Gone: The output has expired.
        StorageUnavailable: The store is elsewhere and does not answer.
    """
    uri = referenced(result.output) if isinstance(result, Success) else None
    if uri is None:
        return result
    raw = store().get([uri]).get(uri)
    if raw is None:
        raise gone(uri)
    return result.model_copy(update={"output": json.loads(raw)})
