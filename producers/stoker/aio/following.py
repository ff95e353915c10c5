"""One reader of a job's text while it is generated, for asyncio; see the blocking `following`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from stoker.following import Ear, Heard, Reader, drain, late, told
from stoker_config import keys
from stoker_tasks.stored import read
from stoker_tasks.streaming import Piece


def pieces(
    ear: Ear, client: Any, job_id: str, after: str | None, timeout: float | None
) -> AsyncIterator[Piece]:
    """Give a job's pieces as they come; it ends with the job. What is unfit is refused at once.

    Raises:
        StokerError: The job did not succeed.
        TimeoutError: It was not finished in time.
        InvalidInput: `after` is no ID of a piece.
    """
    inbox: asyncio.Queue[Heard] = asyncio.Queue()
    return _pieces(ear, client, Reader(job_id, after, inbox.put_nowait), inbox, after, timeout)


async def _pieces(
    ear: Ear,
    client: Any,
    reader: Reader,
    inbox: "asyncio.Queue[Heard]",
    after: str | None,
    timeout: float | None,
) -> AsyncIterator[Piece]:
    job_id = reader.job_id
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    with ear.follow(reader):
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    heard = await inbox.get()
            except TimeoutError:
                break
            new = told(heard)
            if new is None:
                return
            for piece in new:
                after = piece.id
                yield piece
    seen: list[Heard] = []
    reader = Reader(job_id, after, seen.append)
    end, whole = read(await client.get(keys.result(job_id))), False
    while not whole:
        whole = reader.answer(await client.xrange(*reader.question()), end)
        for piece in drain(seen):
            yield piece
    if end is None:
        raise late(job_id, timeout)
