"""One run, from an empty server to a verdict."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.chaos.evidence import read_runs, read_written
from benchmarks.chaos.faults import Faults
from benchmarks.chaos.fleet import Fleet
from benchmarks.chaos.load import Load, Sent
from benchmarks.chaos.plan import Plan
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.quiet import measure
from benchmarks.chaos.recovery import Recovery
from benchmarks.chaos.server import Server
from benchmarks.chaos.verdict import Verdict, judge
from stoker_config import keys
from tests.support.redis_server import folder

_LOOK: Final = 0.2
_READ: Final = 500
# With nothing queued and nothing held for so long, what is not done will never be.
_IDLE: Final = 3.0
# With all jobs done, no forward pass lasts longer than this.
_CALM: Final = 1.5

Say = Callable[[str], None]


def run(plan: Plan, say: Say, logs: Path | None = None) -> Verdict:
    """Do what a plan says.

    Args:
        plan: The plan.
        say: Is told what goes on.
        logs: Where the workers' logs are to be kept; nowhere if absent.

    Raises:
        RuntimeError: Redis or a worker did not start, or the producer broke.
    """
    with folder() as home:
        try:
            (home / "quiet").mkdir()
            quiet = {}
            if plan.build == "stoker":
                say("workers are killed in quiet, one at a time")
                quiet = measure(plan, home / "quiet")
            return _run(plan, say, home, quiet)
        finally:
            if logs is not None:
                logs.mkdir(parents=True, exist_ok=True)
                for path in home.rglob("*.log"):
                    shutil.copy(path, logs)


def _run(plan: Plan, say: Say, home: Path, quiet: Mapping[str, Sequence[float]]) -> Verdict:
    with (
        Server(home) as server,
        Proxy(server.port) as proxy,
        Fleet(plan, server.url, proxy.url, home) as fleet,
        server.client() as client,
    ):
        fleet.start()
        say(f"{len(fleet.slots)} workers take jobs; faults for {plan.seconds:g} s")
        load = Load(server.url, plan.rate, plan.seed)
        recovery = Recovery(server.client())
        load.start()
        recovery.start()
        struck = Faults(plan, fleet, server, proxy, recovery).run()
        server.heal()
        load.stop()
        if load.failure is not None:
            raise RuntimeError("the producer broke") from load.failure
        say(f"{len(load.sent)} jobs submitted; the faults are over, what is left is waited for")
        fleet.retire_late()
        _settle(client, [job.id for job in load.sent], fleet, plan.settle)
        recovery.stop()
        fleet.stop()
        results = _results(client, load.sent)
        left = _left(client)
        for words in left:
            say(f"left over: {words}")
    return judge(
        sent=load.sent,
        unsure=load.unsure,
        results=results,
        left=len(left),
        written=read_written(home),
        runs=read_runs(home / "runs"),
        struck=struck,
        late_ends=fleet.late_ends,
        quiet=quiet,
    )


def _settle(client: Any, ids: Sequence[str], fleet: Fleet, seconds: float) -> None:
    """Wait until nothing is left that could be done, and no worker does anything any more.

    That all jobs are done is not enough: a worker that was cut off wakes up late, and others have
    run what it still has at hand. It may send a chain's next link once more.
    """
    deadline = time.monotonic() + seconds
    busy_at = time.monotonic()
    waiting = list(ids)
    while time.monotonic() < deadline:
        fleet.tend()
        waiting = [job_id for job_id in waiting if not client.exists(keys.result(job_id))]
        if _left(client) or not all(slot.settled for slot in fleet.slots):
            busy_at = time.monotonic()
        # Also what nobody counts, such as a job whose producer was never told that it is taken.
        elif time.monotonic() - busy_at > (_IDLE if waiting else _CALM):
            return
        time.sleep(_LOOK)


def _results(client: Any, sent: Sequence[Sent]) -> dict[str, bytes]:
    found = {}
    ids = [job.id for job in sent]
    for start in range(0, len(ids), _READ):
        some = ids[start : start + _READ]
        values = client.mget([keys.result(job_id) for job_id in some])
        found.update(
            {job_id: value for job_id, value in zip(some, values, strict=True) if value is not None}
        )
    return found


def _left(client: Any) -> list[str]:
    """List the messages that wait in a queue or are held: where each is, and its job."""
    names = [keys.queue("stoker", step, keys.PRIORITY_STEPS) for step in keys.PRIORITY_STEPS]
    try:
        # In one step, lest one that goes back meanwhile is seen in neither place.
        with client.pipeline(transaction=True) as pipe:
            for name in names:
                pipe.lrange(name, 0, -1)
            *queues, held = pipe.hgetall("unacked").execute()
    except redis.RedisError:
        return ["the server is away"]
    waiting = [
        f"in {name}: {_named(json.loads(text))}"
        for name, texts in zip(names, queues, strict=True)
        for text in texts
    ]
    taken = [f"as {tag.decode()}: {_named(json.loads(text)[0])}" for tag, text in held.items()]
    return waiting + taken


def _named(message: Any) -> str:
    headers = message["headers"]
    return f"{headers['task']} {headers['id']}, redelivered: {headers.get('redelivered', False)}"
