"""What a run is told: which suites, and how large each is."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

SUITES: Final = ("noop", "texts", "latency", "backlog", "poison", "fairness", "webhooks")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The sizes of a run; `--help` says what each is.

    Attributes:
        quick: Whether this only shows that the bench works.
    """

    suites: tuple[str, ...] = SUITES
    rounds: int = 5
    scan_rounds: int = 1
    seed: int = 7
    jobs: int = 20_000
    scan_jobs: int = 4000
    texts: int = 522
    scan_texts: int = 128
    arrivals: int = 2000
    unloaded: int = 200
    backlog: int = 1_000_000
    backlog_jobs: int = 20_000
    trials: int = 64
    events: int = 10_000
    model: Path | None = None
    install: bool = True
    force: bool = False
    quick: bool = False
    json: Path | None = None
    picture: Path | None = None


# A minute or two, on figures that mean nothing.
_QUICK: Final[Mapping[str, Any]] = {
    "rounds": 1,
    # Of fewer, all but the first fifth can end in one batch, which shows no rate.
    "jobs": 1500,
    "scan_jobs": 1500,
    "texts": 24,
    "scan_texts": 8,
    "arrivals": 20,
    "unloaded": 10,
    "backlog": 3000,
    "backlog_jobs": 1500,
    "trials": 2,
    "events": 200,
    "install": False,
    "force": True,
}


def read(arguments: list[str]) -> Options:
    """Read the command line."""
    known = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--suite", default=",".join(SUITES), help="which suites, in order, separated by commas"
    )
    parser.add_argument("--json", type=Path, help="write all there is to know to this file")
    parser.add_argument("--picture", type=Path, help="draw the ratios into this SVG file")
    parser.add_argument("--model", type=Path, help="another model's folder than MiniLM's")
    parser.add_argument("--quick", action="store_true", help="small sizes, no installing: a test")
    parser.add_argument("--force", action="store_true", help="measure on a busy machine as well")
    parser.add_argument(
        "--no-install", action="store_true", help="leave out peers that are not installed yet"
    )
    sizes = {
        "rounds": "how often everything is measured, in turn",
        "scan_rounds": "how often each value of a grid is tried",
        "seed": "of all that is drawn by lot",
        "jobs": "no-op jobs of one measurement",
        "scan_jobs": "no-op jobs with which each value of a grid is tried",
        "texts": "texts of one measurement",
        "scan_texts": "texts with which each value of a grid is tried",
        "arrivals": "jobs of one load, all rounds together",
        "unloaded": "jobs that are submitted one by one",
        "backlog": "jobs of the long queue",
        "backlog_jobs": "jobs that are measured in front of it",
        "trials": "poisoned groups of 32 jobs",
        "events": "jobs with webhooks",
    }
    for name, words in sizes.items():
        default = getattr(known, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, help=f"{words} (default: {default})"
        )
    given = parser.parse_args(arguments)
    suites = tuple(each.strip() for each in given.suite.split(",") if each.strip())
    unknown = [each for each in suites if each not in SUITES]
    if unknown or not suites:
        parser.error(f"unknown suite {', '.join(unknown)}: there is {', '.join(SUITES)}")
    wanted: dict[str, Any] = {
        name: value for name in sizes if (value := getattr(given, name)) is not None
    }
    if any(value < 1 for name, value in wanted.items() if name != "seed"):
        parser.error("a size is 1 at least")
    options = replace(
        known,
        suites=suites,
        json=given.json,
        picture=given.picture,
        model=given.model,
        force=given.force,
        install=not given.no_install,
        quick=given.quick,
    )
    if options.quick:
        options = replace(options, **_QUICK)
    return replace(options, **wanted)
