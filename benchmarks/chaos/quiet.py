"""How soon jobs run again after a `kill -9` while nothing else goes wrong, judged by its bounds."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.fleet import Fleet, Slot
from benchmarks.chaos.plan import Plan
from benchmarks.chaos.recovery import Kill, Recovery
from benchmarks.chaos.server import Server
from benchmarks.chaos.strike import held_by, kill_in
from stoker import Client, TextClassification

# So long that only a supervisor can be the one that gives jobs back.
_LEASE: Final = 600.0
_JOBS: Final = 60
# They may all be done before anybody has looked who holds some.
_MORE_SECONDS: Final = 5.0
_LOOK: Final = 0.01
_SECONDS: Final = 90.0

# What is measured, and within how many seconds it has to happen.
BACK: Final = "leases back"
AGAIN: Final = "run on a surviving worker"
LONE: Final = "a lone worker's cold start"
BOUNDS: Final = {BACK: 2.0, AGAIN: 5.0}


def measure(plan: Plan, home: Path) -> dict[str, list[float]]:
    """Kill workers one at a time; gives the seconds that each kill took to be made good.

    Args:
        plan: The run; how often follows from its kills.
        home: Where the server and the workers write.

    Raises:
        RuntimeError: A worker did not start, or jobs did not end.
    """
    quiet = replace(plan, lease=_LEASE, workers=2)
    with (
        Server(home) as server,
        Fleet(quiet, server.url, server.url, home, places=quiet.quiet_places) as fleet,
        Client(server.url) as producer,
        server.client() as client,
    ):
        fleet.start()
        recovery = Recovery(client)
        recovery.start()
        victims = [
            _one(fleet.slots, producer, server.client(), recovery) for _ in range(plan.trials)
        ]
        lone, other = fleet.slots
        other.retire()
        _until(lambda: other.settled)
        alone = [_one([lone], producer, server.client(), recovery) for _ in range(plan.trials)]
        recovery.stop()
        fleet.stop()
    return {
        BACK: [kill.back for kill in (*victims, *alone) if kill.back is not None],
        AGAIN: [kill.done for kill in victims if kill.done is not None],
        LONE: [kill.done for kill in alone if kill.done is not None],
    }


def _one(slots: list[Slot], producer: Client, client: Any, recovery: Recovery) -> Kill:
    """Submit jobs, kill a worker that holds some, and wait until they are done."""
    _until(lambda: all(slot.ready for slot in slots))
    kill = None
    submitted = float("-inf")
    deadline = time.monotonic() + _SECONDS
    with client:
        while kill is None and time.monotonic() < deadline:
            if time.monotonic() - submitted >= _MORE_SECONDS:
                producer.submit_many(
                    [TextClassification(inputs="sleep=0.01") for _ in range(_JOBS)]
                )
                submitted = time.monotonic()
            holding = [slot for slot in slots if held_by(client, slot.worker_id())]
            kill = kill_in(holding[0], client) if holding else None
            if kill is not None and not kill.held:  # the last one ended in that moment
                kill = None
            time.sleep(_LOOK)
    if kill is None:
        raise RuntimeError("no worker took a job: see their logs")
    recovery.follow(kill)
    _until(lambda: kill.done is not None)
    return kill


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("a killed worker was not made good for: see the logs")
        time.sleep(_LOOK)
