"""What befalls the workers, their network and Redis, at instants that follow from a seed."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.chaos.fleet import Fleet, Slot
from benchmarks.chaos.plan import Plan
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.recovery import Kill, Recovery
from benchmarks.chaos.server import Server
from benchmarks.chaos.strike import kill_in

_TEND: Final = 0.05
# How long a kill waits for a worker that takes jobs, and for the moment that it is aimed at.
_READY_SECONDS: Final = 10.0
_AIM_SECONDS: Final = 2.0
_AIM_LOOK: Final = 0.0005


@dataclass
class Struck:
    """What has been done.

    Attributes:
        kills: The worker processes that were killed.
        terms: How many workers were asked to end.
        redis_kills: How often Redis was killed.
        cuts: How often the network was cut.
        stalls: How often it fell silent.
    """

    kills: list[Kill] = field(default_factory=list)
    terms: int = 0
    redis_kills: int = 0
    cuts: int = 0
    stalls: int = 0


class Faults:
    """The order of a run's faults, and the hand that strikes.

    Args:
        plan: The run.
        fleet: The workers.
        server: Redis.
        proxy: The network of some of the workers.
        recovery: Follows the kills.
    """

    def __init__(
        self, plan: Plan, fleet: Fleet, server: Server, proxy: Proxy, recovery: Recovery
    ) -> None:
        self._plan = plan
        self._fleet = fleet
        self._server = server
        self._proxy = proxy
        self._recovery = recovery
        self._random = random.Random(f"faults {plan.seed}")
        self._client: Any = server.client()
        self.struck = Struck()

    def run(self) -> Struck:
        """Strike until the plan's time is over, whatever has not happened by then."""
        began = time.monotonic()
        deadline = began + self._plan.seconds
        strikes = self._strikes()
        # Evenly spread, each somewhere within its share of the time.
        share = self._plan.seconds / len(strikes)
        for at, strike in enumerate(strikes):
            due = began + (at + self._random.random()) * share
            while time.monotonic() < min(due, deadline):
                self._fleet.tend()
                time.sleep(min(_TEND, max(0.0, due - time.monotonic())))
            if time.monotonic() >= deadline:
                break
            strike()
        self._client.close()
        return self.struck

    def _strikes(self) -> list[Callable[[], None]]:
        plan = self._plan
        # Every second kill is aimed; the others come at any instant.
        strikes: list[Callable[[], None]] = [
            self._kill_aimed if number % 2 else self._kill for number in range(plan.kills)
        ]
        strikes += [self._terminate] * plan.terms
        strikes += [self._kill_redis] * plan.redis_kills
        strikes += [self._cut] * plan.cuts
        strikes += [self._stall] * plan.stalls
        self._random.shuffle(strikes)
        return strikes

    # -- the strikes -----------------------------------------------------------------------------

    def _kill(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            slot = self._some_ready()
            if slot is None or self._kill_in(slot):
                return
            self._fleet.tend()
            time.sleep(_TEND)

    def _kill_aimed(self) -> None:
        mark, lasts = self._plan.aim
        deadline = time.monotonic() + _AIM_SECONDS
        while time.monotonic() < deadline:
            caught = [slot for slot in self._fleet.slots if slot.ready and slot.marks.has(mark)]
            if caught:
                time.sleep(self._random.uniform(0, lasts))
                if self._kill_in(self._random.choice(caught)):
                    return
            time.sleep(_AIM_LOOK)
        self._kill()

    def _kill_in(self, slot: Slot) -> bool:
        # kombu's transport is not stopped first: that would keep its window of loss open longer.
        own = self._plan.build in ("stoker", "mutant")
        kill = kill_in(slot, self._client if own else None)
        if kill is None:
            return False
        self.struck.kills.append(kill)
        if kill.held:
            self._recovery.follow(kill)
        return True

    def _terminate(self) -> None:
        slot = self._some_ready()
        if slot is not None:
            slot.terminate()
            self.struck.terms += 1

    def _kill_redis(self) -> None:
        self._server.heal()
        self._server.kill(self._random.uniform(0.2, 1.5))
        self.struck.redis_kills += 1

    def _cut(self) -> None:
        self._proxy.cut(self._random.uniform(0.1, 2.0))
        self.struck.cuts += 1

    def _stall(self) -> None:
        # Sometimes for longer than a lease: then others run its jobs, and it wakes up late.
        self._proxy.stall(self._random.uniform(0.5, 1.6 * self._plan.lease))
        self.struck.stalls += 1

    # -- what they need --------------------------------------------------------------------------

    def _some_ready(self) -> Slot | None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            ready = [slot for slot in self._fleet.slots if slot.ready]
            if ready:
                return self._random.choice(ready)
            self._fleet.tend()
            time.sleep(_TEND)
        return None
