"""Counts and judges a run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.chaos.evidence import Written, state_of, texts_of
from benchmarks.chaos.faults import Struck
from benchmarks.chaos.load import Sent
from benchmarks.chaos.plan import Plan
from benchmarks.chaos.quiet import BOUNDS
from benchmarks.chaos.recovery import Kill

# Of some seconds their median and maximum, and how many there are.
Figures = tuple[float, float, int]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A run's figures.

    Attributes:
        submitted: Jobs that a producer was told are taken.
        unsure: Calls to submit that failed, whose jobs may or may not be there; not counted.
        done: Jobs with a final state.
        failed: Of these, the failures by type, and what was revoked. No job of a run is bad and
            nobody revokes any, so that each of them could have been done.
        wrong: Of these, successes whose answer is not the job's, such as a chord with a part twice.
        lost: Jobs without a final state after everything has settled, by kind.
        left: Messages still in a queue or held after everything has settled.
        run_twice: Jobs that were run more than once, and runs beyond each job's first.
        stored_twice: Jobs whose final state was written more than once.
        redelivered: Messages that went back from a dead or silent worker.
        kills, held, forward, store: Killed worker processes; of these, with leases held, during a
            forward pass, and during a store.
        terms, late_ends: Workers asked to end, and those that did not within the grace time.
        redis_kills, cuts, stalls: The other faults.
        recovery: Seconds from a kill until its jobs are back in the queue, and until they are done:
            median and maximum, with and without a supervisor.
        quiet: The same of kills while nothing else was wrong.
    """

    submitted: int
    unsure: int
    done: int
    failed: Mapping[str, int]
    wrong: int
    lost: Mapping[str, int]
    left: int
    run_twice: tuple[int, int]
    stored_twice: int
    redelivered: int
    kills: int
    held: int
    forward: int
    store: int
    terms: int
    late_ends: int
    redis_kills: int
    cuts: int
    stalls: int
    recovery: Mapping[str, Figures]
    quiet: Mapping[str, Figures] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, stored twice or answered wrongly, and no job failed."""
        return not (self.lost or self.stored_twice or self.wrong or self.failed)

    @property
    def too_slow(self) -> list[str]:
        """What took longer than its bound, of kills while nothing else was wrong."""
        return [
            name
            for name, bound in BOUNDS.items()
            if name in self.quiet and self.quiet[name][1] > bound
        ]

    def counts(self, plan: Plan) -> bool:
        """Tell whether enough has happened for the run to mean anything."""
        kills, held, busy = plan.required
        return (
            self.kills >= kills
            and self.held >= held
            and self.forward + self.store >= busy
            and self.redelivered > 0
        )

    def as_json(self, plan: Plan) -> dict[str, Any]:
        """Give all of it, with the plan."""
        return {
            "plan": asdict(plan),
            "required": plan.required,
            "full": plan.is_full,
            "counts": self.counts(plan),
            "clean": self.is_clean,
            "too_slow": self.too_slow,
            **asdict(self),
        }


def judge(
    *,
    sent: Sequence[Sent],
    unsure: int,
    results: Mapping[str, bytes],
    left: int,
    written: Written,
    runs: Counter[str],
    struck: Struck,
    late_ends: int,
    quiet: Mapping[str, Sequence[float]] | None = None,
) -> Verdict:
    """Count.

    Args:
        sent: The jobs.
        unsure: Calls to submit that failed.
        results: What is stored for those jobs that have a final state.
        left: Messages still in a queue or held.
        written: What Redis wrote.
        runs: How often each job was run.
        struck: What has been done to them.
        late_ends: Workers that did not end in time.
        quiet: Seconds of each kill while nothing else was wrong.
    """
    failed: Counter[str] = Counter()
    wrong = 0
    for job in sent:
        if job.id not in results:
            continue
        state, why = state_of(results[job.id])
        if state != "SUCCESS":
            failed[why] += 1
        elif texts_of(results[job.id]) != job.texts:
            wrong += 1
    again = [count for count in runs.values() if count > 1]
    # Without tags of its own a worker's leases cannot be told from others'; one that is in a
    # forward pass or a store holds some.
    held = [kill for kill in struck.kills if kill.held or kill.phase != "other"]
    phases = Counter(kill.phase for kill in struck.kills)
    return Verdict(
        submitted=len(sent),
        unsure=unsure,
        done=len(results),
        failed=dict(failed),
        wrong=wrong,
        lost=dict(Counter(job.kind for job in sent if job.id not in results)),
        left=left,
        run_twice=(len(again), sum(again) - len(again)),
        stored_twice=sum(count > 1 for count in written.stored.values()),
        redelivered=written.redelivered,
        kills=len(struck.kills),
        held=len(held),
        forward=phases["forward"],
        store=phases["store"],
        terms=struck.terms,
        late_ends=late_ends,
        redis_kills=struck.redis_kills,
        cuts=struck.cuts,
        stalls=struck.stalls,
        recovery=_recovery(struck.kills),
        quiet={name: _figures(seconds) for name, seconds in (quiet or {}).items() if seconds},
    )


def _figures(seconds: Sequence[float]) -> Figures:
    return round(median(seconds), 3), round(max(seconds), 3), len(seconds)


def _recovery(kills: Sequence[Kill]) -> dict[str, Figures]:
    figures = {}
    for whose in (True, False):
        for what in ("back", "done"):
            seconds = [
                getattr(kill, what)
                for kill in kills
                if kill.supervised is whose and getattr(kill, what) is not None
            ]
            if seconds:
                name = f"{'supervised' if whose else 'unsupervised'}, {what}"
                figures[name] = _figures(seconds)
    return figures
