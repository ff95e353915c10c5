"""`python -m benchmarks.chaos`: runs, prints a table, and exits with what came of it.

Exit codes: 0, all is as it must be; 1, a job was lost, failed, was stored twice or was answered
wrongly, or jobs of workers that were killed in quiet came back too late in a full run, or a build
that must show a loss shows none; 2, too little has happened for the run to count.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.chaos.plan import Build, Plan
from benchmarks.chaos.report import table
from benchmarks.chaos.run import run
from benchmarks.chaos.verdict import Verdict

_PLAN = Plan()


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=_PLAN.seconds, help="of faults")
    parser.add_argument("--kills", type=int, default=_PLAN.kills, help="kill -9 that are tried")
    parser.add_argument("--seed", type=int, help="a random one if absent; it is printed")
    parser.add_argument("--workers", type=int, default=_PLAN.workers, choices=(2, 3, 4))
    parser.add_argument("--rate", type=float, default=_PLAN.rate, help="jobs a second")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--stock", action="store_true", help="kombu's own transport: must show a loss"
    )
    which.add_argument(
        "--mutant", action="store_true", help="a build that acknowledges first: must be caught"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the workers' logs")
    options = parser.parse_args(argv)
    sys.unraisablehook = _without_celery
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    builds: list[Build] = ["stoker"]
    if options.mutant:
        builds = ["mutant"]
    elif options.stock:
        builds = ["stoker on kombu's transport", "plain celery"]
    figures = []
    code = 0
    for build in builds:
        plan = Plan(
            build=build,
            seconds=options.seconds,
            kills=options.kills,
            seed=seed,
            workers=options.workers,
            rate=options.rate,
        )
        _say(f"{build}: seed {seed}, {plan.kills} kills in {plan.seconds:g} s")
        verdict = run(plan, _say, options.logs)
        print(table(plan, verdict))
        code = max(code, exit_code(plan, verdict))
        figures.append(verdict.as_json(plan))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return code


def exit_code(plan: Plan, verdict: Verdict) -> int:
    """Give the exit code of a run."""
    if plan.build == "stoker":
        if not verdict.is_clean or (plan.is_full and verdict.too_slow):
            return 1
        return 0 if verdict.counts(plan) else 2
    # What is left over in a queue, or held for longer than the run waits, is late and not gone.
    gone = sum(verdict.lost.values()) - verdict.left
    if gone > 0:
        print(f"A loss, as it must be: {gone} jobs or more of {plan.build} are nowhere any more.")
        return 0
    print(f"NO LOSS was seen of {plan.build}: this run proves nothing about the harness.")
    return 1


def _without_celery(unraisable: Any) -> None:
    # Celery's results talk to the server when they are thrown away, also while it is killed.
    if "AsyncResult.__del__" not in repr(unraisable.object):
        sys.__unraisablehook__(unraisable)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
