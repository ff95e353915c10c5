"""A run's figures as a table for people."""

from benchmarks.chaos.plan import FULL_BUSY, FULL_HELD, FULL_KILLS, Plan
from benchmarks.chaos.quiet import BOUNDS
from benchmarks.chaos.verdict import Verdict


def table(plan: Plan, verdict: Verdict) -> str:
    """Write the table."""
    lines = [f"{name:<44}{value}" for name, value in _rows(verdict)]
    lines += [
        f"seconds from a kill, {name:<23}{_times(*each)}" for name, each in verdict.recovery.items()
    ]
    lines += [
        f"in quiet, {name:<34}{_times(*each)}{_bound(name, each[1])}"
        for name, each in verdict.quiet.items()
    ]
    return "\n".join([f"chaos: {plan.build}, seed {plan.seed}", *lines, *_judgement(plan, verdict)])


def _rows(verdict: Verdict) -> list[tuple[str, str]]:
    failed = ", ".join(f"{name} {count}" for name, count in sorted(verdict.failed.items()))
    lost = ", ".join(f"{kind} {count}" for kind, count in sorted(verdict.lost.items()))
    jobs, runs = verdict.run_twice
    return [
        ("jobs submitted", f"{verdict.submitted}"),
        ("jobs done", f"{verdict.done}"),
        ("  of these failed", failed or "0"),
        ("  of these with a wrong answer", f"{verdict.wrong}"),
        ("jobs lost", f"{sum(verdict.lost.values())}" + (f" ({lost})" if lost else "")),
        ("jobs run more than once", f"{jobs} ({runs} runs too many)"),
        ("jobs stored more than once", f"{verdict.stored_twice}"),
        ("messages redelivered", f"{verdict.redelivered}"),
        ("messages left over", f"{verdict.left}"),
        ("submissions of unknown fate (not counted)", f"{verdict.unsure}"),
        ("kill -9 of workers", f"{verdict.kills}"),
        ("  with leases held", f"{verdict.held}"),
        ("  during a forward pass", f"{verdict.forward}"),
        ("  during a store", f"{verdict.store}"),
        ("SIGTERM of workers", f"{verdict.terms} ({verdict.late_ends} did not end in time)"),
        ("Redis killed and restarted", f"{verdict.redis_kills}"),
        ("network cut / silent", f"{verdict.cuts} / {verdict.stalls}"),
    ]


def _times(middle: float, most: float, count: int) -> str:
    return f"median {middle:.2f}, at most {most:.2f} ({count} kills)"


def _bound(name: str, most: float) -> str:
    bound = BOUNDS.get(name)
    if bound is None:
        return ""
    return f", within {bound:g} s" if most <= bound else f", OVER {bound:g} s"


def _judgement(plan: Plan, verdict: Verdict) -> list[str]:
    kills, held, busy = plan.required
    kind = "a full run" if plan.is_full else "a SHORT run, with a share of a full run's kills"
    needs = f"{kills} kills, {held} with leases held, {busy} during forward or store"
    lines = [f"This is {kind}: it needs {needs}, and something redelivered."]
    if not plan.is_full:
        lines.append(f"A full run needs {FULL_KILLS}, {FULL_HELD} and {FULL_BUSY}.")
    if not verdict.counts(plan):
        lines.append("IT DOES NOT COUNT: too little has happened.")
    lines.append(
        "CLEAN: nothing lost, failed, stored twice or answered wrongly."
        if verdict.is_clean
        else "NOT CLEAN: jobs were lost, failed, were stored twice or answered wrongly."
    )
    return lines
