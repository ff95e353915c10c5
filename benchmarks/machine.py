"""What a figure was measured on, and whether the machine is quiet enough to measure at all."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
# Processes that want a core, over the last minute; whatever else runs takes part in the figures.
QUIET: Final = 0.3
_PACKAGES: Final = ("celery", "kombu", "redis", "torch", "transformers", "tokenizers", "pydantic")


class Busy(Exception):
    """Other processes use the machine."""


def load() -> float:
    """Give the load average of the last minute."""
    return os.getloadavg()[0]


def check_quiet(*, force: bool) -> str | None:
    """Refuse to measure on a busy machine.

    Args:
        force: Warn only.

    Returns:
        The warning, if there is one.

    Raises:
        Busy: The load is too high, and `force` is not set.
    """
    now = load()
    if now <= QUIET:
        return None
    problem = f"the load average is {now:.2f}, and figures are worth something up to {QUIET}"
    if not force:
        raise Busy(f"{problem}: wait until the machine is quiet, or give --force")
    return f"{problem}: ratios suffer, and absolute figures mean nothing"


def stolen_seconds() -> float:
    """Give the processor time that a virtual machine's host has given to others; see proc(5)."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split()
    except OSError:
        return 0.0
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Add up the processor time of a process and all its descendants; 0 where none can be read.

    Unlike a rate it is nearly the same on a machine that others use too.
    """
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in _tree(pid))
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Add up the memory of a process and all its descendants that is in use, not swapped out."""
    return sum(int(fields[21]) for fields in _tree(pid)) * os.sysconf("SC_PAGE_SIZE")


def _tree(pid: int) -> Iterator[list[str]]:
    """Go through a process and all its descendants: what proc(5) says of each from its state on."""
    found: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        found[int(stat.parent.name)] = text.rpartition(")")[2].split()
    tree = {pid}
    while grown := {one for one, fields in found.items() if int(fields[1]) in tree} - tree:
        tree |= grown
    yield from (found[one] for one in tree if one in found)


def describe() -> dict[str, Any]:
    """Describe the machine, the code and its libraries."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "governor": _governor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": sys.version.split()[0],
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "commit": _commit(),
        "load": round(load(), 2),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain") else commit or "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _governor() -> str:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text(encoding="utf-8").strip() if path.is_file() else "none"
