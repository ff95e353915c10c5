"""Says in Stoker's words that Redis has no memory left for what a producer sends."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stoker_config.artifacts_redis import FULL_SECONDS
from stoker_tasks.errors import QueueFull


@contextmanager
def refused_when_full(taken: Sequence[str] = ()) -> Iterator[None]:
    """Raise `QueueFull` where the server refuses a transaction for want of memory.

    Nothing of the transaction was done. Blocking calls and asyncio's use it alike.

    Args:
        taken: The IDs of the jobs that earlier transactions of the same call have sent.

    Raises:
        QueueFull: The server has no memory left.
    """
    import redis

    from stoker_config.servers import is_full

    try:
        yield
    except redis.ResponseError as error:
        if not is_full(error):
            raise
        # Redis-py's own message quotes the command that was refused, and so a caller's words.
        raise QueueFull(
            "Redis has no memory left (maxmemory) and takes no jobs: submit again in "
            f"{FULL_SECONDS} s; if it lasts, start more workers, let results expire sooner "
            "(STOKER_RESULT_EXPIRES, or delete them), or give the server more memory",
            {"retry_after": FULL_SECONDS, "taken": list(taken)},
        ) from None
