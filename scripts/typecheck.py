"""Runs mypy, and fails as well if it did not look at every file that it should."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path


def main() -> int:
    """Check all types; the exit status is 0 if all files were checked and none has an error."""
    config = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    folders: list[str] = config["tool"]["mypy"]["files"]
    expected = len(_sources(folders))
    mypy = subprocess.run(
        [sys.executable, "-m", "mypy"], stdout=subprocess.PIPE, text=True, check=False
    )
    sys.stdout.write(mypy.stdout)
    if mypy.returncode != 0:
        return mypy.returncode
    found = re.search(r"no issues found in (\d+) source files?", mypy.stdout)
    checked = int(found[1]) if found else 0
    if checked != expected:
        sys.stderr.write(
            f"mypy checked {checked} files; {', '.join(folders)} hold {expected}: does each folder "
            f"stand in [tool.mypy] files, and has each package its __init__.py?\n"
        )
        return 1
    return 0


def _sources(folders: list[str]) -> set[str]:
    # Also what is not committed yet, since mypy reads that too; but not what git ignores.
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()
    return {name for name in listed if name.endswith(".py") and Path(name).is_file()}


if __name__ == "__main__":
    sys.exit(main())
