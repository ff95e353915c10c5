"""What a run does, and what it must reach to count."""

from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.chaos.workers.marks import IN_LOOP, STORE

Build = Literal["stoker", "mutant", "stoker on kombu's transport", "plain celery"]

_PACKAGE: Final = "benchmarks.chaos.workers"
_APPS: Final[dict[Build, str]] = {
    "stoker": f"{_PACKAGE}.stoker_app",
    "mutant": f"{_PACKAGE}.mutant_app",
    "stoker on kombu's transport": f"{_PACKAGE}.stoker_app",
    "plain celery": f"{_PACKAGE}.plain_app",
}

# A full run counts only with so many kills, so many of them with leases held, and so many of them
# during a forward pass or a store; a shorter run needs its share of each.
FULL_KILLS: Final = 75
FULL_HELD: Final = 50
FULL_BUSY: Final = 20
# Of the kills that are planned, so many may fail to happen in time.
_SPARE: Final = 0.75


@dataclass(frozen=True)
class Place:
    """Where one worker runs.

    Attributes:
        name: Its node name, before the host's.
        supervised: Whether a supervisor starts it again; the harness does otherwise.
        by_proxy: Whether it reaches Redis by the network that is cut.
        skew: Seconds by which its clock is wrong.
    """

    name: str
    supervised: bool
    by_proxy: bool
    skew: int


_PLACES: Final = (
    Place("near", supervised=True, by_proxy=False, skew=0),
    Place("far-late", supervised=False, by_proxy=True, skew=-3600),
    Place("far", supervised=True, by_proxy=True, skew=0),
    Place("near-early", supervised=False, by_proxy=False, skew=3600),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        build: What is struck.
        seconds: For how long jobs are submitted and faults happen.
        kills: How many `kill -9` of worker processes are tried.
        seed: What all that is random follows from.
        workers: How many workers there are.
        rate: Jobs submitted a second, chains' and chords' included.
        lease: Seconds after which a silent worker's jobs go to another one.
        settle: Seconds that jobs have after the last fault, at most.
    """

    build: Build = "stoker"
    seconds: float = 300.0
    kills: int = 100
    seed: int = 0
    workers: int = 4
    rate: float = 60.0
    lease: float = 5.0
    settle: float = 120.0

    @property
    def app(self) -> str:
        """The module of the workers' Celery app."""
        return _APPS[self.build]

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the workers run; kombu's transport knows no tags to give back by a supervisor."""
        chosen = _PLACES[: self.workers]
        if self.build != "plain celery":
            return chosen
        return tuple(Place(each.name, False, each.by_proxy, each.skew) for each in chosen)

    @property
    def settings(self) -> dict[str, object]:
        """The workers' settings: few jobs a batch, so that all of them hold some."""
        transport = "stock" if self.build == "stoker on kombu's transport" else "stoker"
        return {"lease": self.lease, "transport": transport, "prefetch": 64, "batch_rows": 16}

    @property
    def aim(self) -> tuple[int, float]:
        """What the aimed kills wait for, and for how many seconds it lasts.

        A store takes milliseconds; random instants would seldom meet one. Plain Celery's weak
        moment is a job that runs inside its event loop while messages come in.
        """
        return (IN_LOOP, 0.15) if self.build == "plain celery" else (STORE, 0.006)

    @property
    def terms(self) -> int:
        """How many `SIGTERM` of workers are tried."""
        return max(1, self.kills // 8)

    @property
    def redis_kills(self) -> int:
        """How often Redis is killed and started again."""
        return max(1, self.kills // 20)

    @property
    def cuts(self) -> int:
        """How often all connections of the proxy are dropped and new ones refused."""
        return max(1, self.kills // 10)

    @property
    def stalls(self) -> int:
        """How often the proxy lets no byte pass."""
        return max(1, self.kills // 20)

    @property
    def trials(self) -> int:
        """How many workers are killed in quiet, with another one alive, and alone."""
        return max(1, self.kills // 20)

    @property
    def quiet_places(self) -> tuple[Place, ...]:
        """Where the workers run that are killed in quiet: nothing else is wrong with them."""
        names = ("quiet", "quiet-other")
        return tuple(Place(name, supervised=True, by_proxy=False, skew=0) for name in names)

    @property
    def required(self) -> tuple[int, int, int]:
        """The kills that a run needs to count: all, with leases held, during forward or store."""
        all_of_them = min(FULL_KILLS, int(self.kills * _SPARE))
        share = all_of_them / FULL_KILLS
        return all_of_them, int(FULL_HELD * share), int(FULL_BUSY * share)

    @property
    def is_full(self) -> bool:
        """Whether it can reach what a full run needs."""
        return self.required == (FULL_KILLS, FULL_HELD, FULL_BUSY)
