"""`scripts/setup.sh` on machines that lack something: it says what, and what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What set-up reads, in a folder with a space in its name."""
    folder = tmp_path / "a clone"
    (folder / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "scripts/setup.sh"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def set_up(clone: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", str(clone / "scripts" / "setup.sh")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def interpreter(folder: Path, name: str, script: str) -> str:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_an_interpreter_that_is_too_old_is_refused(clone: Path, tmp_path: Path) -> None:
    old = interpreter(tmp_path, "python3", "exit 1")

    done = set_up(clone, PYTHON=old)

    assert done.returncode == 1
    assert "is not Python 3.11 or newer" in done.stderr
    assert not (clone / ".venv").exists()


def test_no_interpreter_that_is_new_enough_is_explained(clone: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "cat", "cksum", "dirname"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    interpreter(tools, "python3", '[ "$1" = --version ] && echo "Python 3.9.2" || exit 1')

    done = set_up(clone, PATH=str(tools), PYTHON="")

    assert done.returncode == 1
    assert "needs Python 3.11 or newer, and Python 3.9.2 is on PATH" in done.stderr
    assert "apt install python3" in done.stderr


def test_a_python_without_venv_is_explained(clone: Path, tmp_path: Path) -> None:
    bare = interpreter(
        tmp_path, "python3", 'case "$2" in *ensurepip*) exit 1;; esac; echo "Python 3.11.2"'
    )

    done = set_up(clone, PYTHON=bare)

    assert done.returncode == 1
    assert "Python 3.11.2 has no venv module" in done.stderr
    assert "apt install python3-venv" in done.stderr


def test_no_network_is_explained_and_the_next_run_starts_again(clone: Path) -> None:
    # Port 9 discards, where it is open at all.
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "0",
        "PYTHON": sys.executable,
    }

    done = set_up(clone, **nowhere)

    assert done.returncode == 1
    assert "Is there a network" in done.stderr
    assert not (clone / ".venv" / "made-for").exists()


def test_a_second_set_up_does_nothing(clone: Path, tmp_path: Path) -> None:
    # It makes an environment whose Python is itself, and notes what it is asked.
    fake = interpreter(
        tmp_path,
        "python3",
        'printf "%s\\n" "$*" >>"$CALLS"\n'
        'if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi',
    )
    calls = tmp_path / "calls"

    first = set_up(clone, PYTHON=fake, CALLS=str(calls))
    made = calls.read_text()
    calls.write_text("")
    second = set_up(clone, PYTHON=fake, CALLS=str(calls))

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "-m venv" in made
    assert "-m pip install" in made
    # It asks the interpreter that is there whether it runs, and no more.
    assert calls.read_text() == "-c \n"
    assert second.stdout == second.stderr == ""

    (clone / "constraints.txt").write_text("# others\n")
    calls.write_text("")
    third = set_up(clone, PYTHON=fake, CALLS=str(calls))

    assert third.returncode == 0
    assert "Bringing .venv up to date" in third.stdout
    assert "-m venv" not in calls.read_text()
    assert "-m pip install" in calls.read_text()
