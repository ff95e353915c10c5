"""`python -m benchmarks.soak`: runs, prints its samples, and exits with what came of it.

Exit codes: 0, the worker did not grow and Redis is empty; 1, one of them keeps something of each
job.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.server import Server
from benchmarks.services import Bench
from benchmarks.soak.run import run
from stoker_config.settings import load_settings

_APP: Final = "benchmarks.noop_worker"
_LEAKING: Final = "benchmarks.soak.leaking_worker"


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument(
        "--leaking", action="store_true", help="a build that keeps each job: must be caught"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(argv)
    cache = load_settings().cache_dir
    server = Server(cache)
    try:
        with tempfile.TemporaryDirectory(prefix="stoker-soak-") as folder:
            bench = Bench(server=server, folder=Path(folder), cache=cache)
            app = _LEAKING if options.leaking else _APP
            found = run(bench, options.jobs, options.seed, app, _say)
    finally:
        server.stop()
    if options.json:
        options.json.write_text(json.dumps(found.as_json(), indent=2) + "\n", encoding="utf-8")
    print(f"The worker grew by {found.grown / 2**20:.1f} MiB from the second quarter to the last.")
    print(f"Left in Redis for ever: {sum(found.left.values())} values.")
    for problem in found.problems:
        print(f"!! {problem}")
    return 1 if found.problems else 0


def _say(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
