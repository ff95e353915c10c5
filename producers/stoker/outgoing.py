"""Gets jobs ready to be sent: held against the limits, with their large inputs sent ahead."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from stoker.message import Message, message_of
from stoker.payload import Packed, pack
from stoker.server import Server
from stoker_config.retention import Retention
from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job


class Outgoing:
    """What a client's settings make of jobs. Safe for threads.

    Args:
        server: Where large inputs are sent, and the settings.

    Attributes:
        retention: For how long results may be kept.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        settings = server.settings
        self.retention = Retention(settings.result_expires, settings.retention_max)

    def messages(
        self,
        jobs: Sequence[Job],
        pool: str,
        *,
        countdown: float | None = None,
        expires: float | datetime | None = None,
    ) -> list[Message]:
        """Make the messages of jobs, for `publish`; see `Client.submit` for the arguments.

        Raises:
            TooLarge: A job is larger than the deployment takes.
            InvalidInput: A file is not base64, a job nests too deep, has a text with half of a
                surrogate pair, or asks for its result to be kept for longer than is possible.
            StorageUnavailable: Inputs go to a store that does not answer, or has no room.
        """
        seconds = self._server.settings.artifact_expires
        return [
            message_of(
                job,
                packed,
                pool=pool,
                beside_expires=seconds,
                countdown=countdown,
                expires=expires,
            )
            for job, packed in zip(jobs, self.packed(jobs), strict=True)
        ]

    def packed(self, jobs: Sequence[Job]) -> list[Packed]:
        """Give what the messages of jobs carry, and send ahead what they do not; see `messages`."""
        for job in jobs:
            self.retention.checked(job.retention)
            check_texts(job)
        settings = self._server.settings
        inline, limits = settings.inline_limit, settings.limits
        return [pack(job, lambda: self._server.artifacts, inline, limits) for job in jobs]


def check_texts(job: Job) -> None:
    """Refuse a job whose texts have no UTF-8, before anything of it or of its neighbours is sent.

    Raises:
        InvalidInput: A text has half of a surrogate pair. The message names the job's field.
    """
    for name in job.model_fields_set:
        if not _is_utf8(getattr(job, name)):
            raise InvalidInput(
                f"{job.task}: {name}: a text has half of a surrogate pair, which UTF-8 cannot "
                "tell: send whole characters",
                {"field": name},
            )


def _is_utf8(value: Any) -> bool:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            try:
                value.isascii() or value.encode()  # the first is known without a look at the text
            except UnicodeEncodeError:
                return False
        elif isinstance(value, Mapping):
            waiting += [*value, *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
        elif isinstance(value, BaseModel):
            waiting += [{**value.__dict__, **(value.model_extra or {})}]
    return True
