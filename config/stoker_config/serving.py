"""The registry of what is served: workers announce it while they live, producers ask it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from stoker_config import keys

# A worker says so every third of this time.
ALIVE_SECONDS: Final = 30.0
# A pool whose last worker was seen within this time is down, not unknown: its jobs may wait.
KNOWN_SECONDS: Final = 86_400.0


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """Where one model of a worker stands.

    Attributes:
        model: Its name and commit (`name@commit`), as far as they are known.
        name: Its name in the models file; empty if it is not listed there.
        task: The task it was loaded for.
        state: `loading`, `warm`, `leaving` (it takes no more jobs) or `failed`.
        step: What its loading does now, or why it failed.
        memory: The bytes that it takes, as far as they are known.
        used: When it was last asked for, in seconds since the epoch.
        pinned: Whether it is kept however long it is not used.
    """

    model: str
    name: str
    task: str
    state: str
    step: str
    memory: int
    used: float
    pinned: bool


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What one worker serves.

    Attributes:
        worker: The worker's ID: its Celery node name.
        pools: The pools whose queues it reads.
        tasks: The tasks it can run.
        defaults: For each task, the model of jobs that name none.
        models: The only models it serves; any if empty.
        warm: The models it has loaded now.
        device: Such as `cpu` or `cuda:0`.
        states: Where each of its models stands.
        ready: Whether it takes jobs already.
        meter: What its device has done since its start: batches, rows, tokens and padded tokens,
            seconds busy, and seconds idle though a job was ready.
        ailing: What is not well with it though it works; "" if nothing is.
        results_apart: Whether it stores results on a server of their own; None if it does not say.
    """

    worker: str
    pools: tuple[str, ...]
    tasks: tuple[str, ...]
    defaults: dict[str, str]
    models: tuple[str, ...]
    warm: tuple[str, ...]
    device: str
    states: tuple[ModelState, ...] = ()
    ready: bool = True
    meter: dict[str, float] = field(default_factory=dict)
    ailing: str = ""
    results_apart: bool | None = None


# It begins with a write that takes no memory, here of nothing: so it is not refused while Redis has
# none left, and a worker that waits for some does not count as dead.
# KEYS: workers, what each serves, pools. ARGV: the worker, seconds for which it may be believed
# alive, what it serves, and the pools that it is ready for.
_ANNOUNCE: Final = """
redis.call('ZREM', KEYS[1], '')
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
redis.call('ZADD', KEYS[1], string.format('%.6f', now + ARGV[2]), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
for i = 4, #ARGV do redis.call('ZADD', KEYS[3], string.format('%.6f', now), ARGV[i]) end
"""


class Registry:
    """The serving registry of one Redis server.

    Args:
        client: A redis-py client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def announce(self, serving: Serving) -> None:
        """Say that a worker lives and what it serves; to be repeated every `ALIVE_SECONDS` / 3."""
        pools = serving.pools if serving.ready else ()
        names = (keys.WORKERS, keys.SERVING, keys.POOLS)
        self._client.eval(
            _ANNOUNCE,
            len(names),
            *names,
            serving.worker,
            ALIVE_SECONDS,
            json.dumps(asdict(serving)),
            *pools,
        )

    def withdraw(self, worker: str) -> None:
        """Say that a worker has ended; its pools stay known."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zrem(keys.WORKERS, worker)
            pipe.hdel(keys.SERVING, worker)
            pipe.execute()

    def workers(self, *, starting: bool = False) -> list[Serving]:
        """List what the living workers serve, in the order of their IDs.

        Args:
            starting: List those as well that still load their first models.
        """
        now = self._now()
        # No transaction here and above, which a server without memory would refuse.
        with self._client.pipeline(transaction=False) as pipe:
            ask(pipe, now)
            pipe.zrangebyscore(keys.WORKERS, "-inf", now)
            *answers, dead = pipe.execute()
        if dead:
            self._client.zrem(keys.WORKERS, *dead)
            self._client.hdel(keys.SERVING, *dead)
        return tell(answers, starting=starting)[0]

    def known_pools(self) -> list[str]:
        """List the pools that a worker served within the last day, alive or not."""
        since = self._now() - KNOWN_SECONDS
        return sorted(_text(self._client.zrangebyscore(keys.POOLS, since, "+inf")))

    def _now(self) -> float:
        # The server's clock: a worker whose own is wrong lives no shorter and no longer for it.
        seconds, microseconds = self._client.time()
        return float(seconds) + float(microseconds) / 1e6


def ask(pipe: Any, now: float) -> None:
    """Put the question who serves what into a pipeline of redis-py, blocking or not.

    Args:
        pipe: The pipeline.
        now: Seconds since the epoch by the server's clock.
    """
    pipe.zrangebyscore(keys.WORKERS, now, "+inf")
    pipe.hgetall(keys.SERVING)
    pipe.zrangebyscore(keys.POOLS, now - KNOWN_SECONDS, "+inf")


def tell(answers: Sequence[Any], *, starting: bool = False) -> tuple[list[Serving], list[str]]:
    """Read the answers to what `ask` asked: the living workers, and the known pools."""
    alive, serving, pools = answers
    found = [_read(serving[worker]) for worker in sorted(alive) if worker in serving]
    return [each for each in found if each.ready or starting], sorted(_text(pools))


def _read(raw: bytes) -> Serving:
    fields = json.loads(raw)
    lists = {name: tuple(fields[name]) for name in ("pools", "tasks", "models", "warm")}
    # A worker of another version may tell more or less.
    states = tuple(ModelState(**each) for each in fields.get("states", ()))
    return Serving(**{**fields, **lists, "states": states})


def _text(names: Iterable[bytes]) -> list[str]:
    return [name.decode() for name in names]
