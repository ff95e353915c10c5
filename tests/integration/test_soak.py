"""The short version of `make soak`: memory stays as it is, and a worker that leaks is caught."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.worker import ROOT, environment

_MIB = 2**20


def soak(folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Run it; gives its exit code, its figures and all that it printed."""
    figures = folder / "soak.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.soak", "--json", str(figures), *options),
        ],
        cwd=ROOT,
        env=environment("redis://127.0.0.1:1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=170,
    )
    assert figures.exists(), done.stdout
    return done.returncode, json.loads(figures.read_text()), done.stdout


def test_jobs_that_end_fail_expire_or_are_canceled_leave_nothing_behind(tmp_path: Path) -> None:
    code, figures, printed = soak(tmp_path, "--jobs", "40000")

    assert figures["samples"][-1]["jobs"] >= 40_000
    assert figures["grown"] < 12 * _MIB, printed
    assert sum(figures["left"].values()) < 50, printed
    assert code == 0, printed


def test_a_worker_that_keeps_each_job_is_caught(tmp_path: Path) -> None:
    code, figures, printed = soak(tmp_path, "--jobs", "40000", "--leaking")

    assert code == 1, printed
    assert figures["grown"] > 12 * _MIB
    assert "!! the worker grew by" in printed
