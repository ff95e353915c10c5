"""`python -m benchmarks`: run suites and show what they found."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from benchmarks import machine, options, picture
from benchmarks.report import Report, table
from benchmarks.server import Server
from benchmarks.services import Bench
from benchmarks.suites import backlog, fairness, latency, noop, poison, texts, webhooks
from stoker_config.settings import load_settings

_SUITES: Final[Mapping[str, Callable[[Bench, options.Options], Report]]] = {
    "noop": noop.run,
    "texts": texts.run,
    "latency": latency.run,
    "backlog": backlog.run,
    "poison": poison.run,
    "fairness": fairness.run,
    "webhooks": webhooks.run,
}


def main(arguments: list[str]) -> int:
    """Run the bench; the exit status is 1 if a figure must not be used, 2 on a busy machine."""
    wanted = options.read(arguments)
    try:
        warning = machine.check_quiet(force=wanted.force)
    except machine.Busy as busy:
        _say(str(busy))
        return 2
    if warning:
        _say(f"!! {warning}")
    facts = machine.describe()
    began, stolen = time.monotonic(), machine.stolen_seconds()
    reports: list[Report] = []
    cache = load_settings().cache_dir
    server = Server(cache)
    try:
        with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
            bench = Bench(server=server, folder=Path(folder), cache=cache)
            for name in wanted.suites:
                _say(f"{name} … ({time.monotonic() - began:.0f} s so far)")
                reports.append(_SUITES[name](bench, wanted))
                # At once, and to the file too: a later suite may be cut short.
                sys.stdout.write(table(reports[-1:]) + "\n")
                sys.stdout.flush()
                facts["stolen_seconds"] = round(machine.stolen_seconds() - stolen, 1)
                _write(wanted, facts, reports, server.version, time.monotonic() - began)
    finally:
        server.stop()
    caption = (
        f"commit {facts['commit']}, {facts['cores']} cores, {facts['processor']}, "
        f"{wanted.rounds} rounds, medians; a bar beyond the line: Stoker is ahead"
    )
    if wanted.picture:
        wanted.picture.write_text(picture.picture(reports, caption), encoding="utf-8")
    problems = [problem for report in reports for problem in report.problems]
    _say(
        f"{time.monotonic() - began:.0f} s, and {facts['stolen_seconds']:.0f} s of the processors' "
        f"given to others by the host; commit {facts['commit']}; {len(problems)} problems"
    )
    return 1 if problems else 0


def _write(
    wanted: options.Options,
    facts: Mapping[str, object],
    reports: list[Report],
    redis: str,
    seconds: float,
) -> None:
    if wanted.json is None:
        return
    # Where the figures go is no part of them.
    told = {
        name: str(value) for name, value in vars(wanted).items() if name not in {"json", "picture"}
    }
    whole = {
        "machine": {**facts, "redis": redis},
        "options": told,
        "seconds": seconds,
        "suites": [report.to_json() for report in reports],
    }
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    wanted.json.write_text(text + "\n", encoding="utf-8")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
