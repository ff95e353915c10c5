"""Real processes, ended in every way there is: none of their descendants may live on."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stoker.local.errors import Interrupted, ProcessDied
from stoker.local.processes import Process

# A child, a grandchild, and a daemon in a session of its own that has left its parent.
FAMILY = """
import os, subprocess, sys, time
sleep = "import time; time.sleep(600)"
subprocess.Popen([sys.executable, "-S", "-c", sleep])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-S", "-c", sleep])
    os._exit(0)
print("ready", flush=True)
time.sleep(600)
"""
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True)\n"
DEAF += "time.sleep(600)"


def test_stop_ends_the_whole_family_a_daemon_included(tmp_path: Path) -> None:
    process = start(FAMILY, tmp_path)
    family = family_of(process.pid, 5)

    process.stop()

    assert gone(family)


def test_stop_gives_the_command_time_to_end_by_itself(tmp_path: Path) -> None:
    process = start(
        "import signal, sys, time\n"
        "signal.signal(15, lambda *_: (time.sleep(0.3), sys.exit(7)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)",
        tmp_path,
    )

    assert process.stop() == 7


def test_stop_kills_a_command_that_does_not_listen_when_its_grace_is_over(tmp_path: Path) -> None:
    process = start(DEAF, tmp_path, grace=0.3)

    assert process.stop() == 128 + signal.SIGKILL


def test_a_stop_in_a_hurry_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    process = start(DEAF, tmp_path, grace=1000)

    assert process.stop(hurry=lambda: True) == 128 + signal.SIGKILL


@pytest.mark.parametrize("fatal", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_parent_leaves_no_descendant_and_no_folder(
    tmp_path: Path, fatal: signal.Signals
) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    parent = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys, time\n"
            "from pathlib import Path\n"
            "from stoker.local.processes import Process\n"
            "kept = Process('family', [sys.executable, '-S', '-c', sys.argv[1]],\n"
            "               log=Path(sys.argv[2]), remove=Path(sys.argv[3]))\n"
            "time.sleep(600)",
            *(FAMILY, str(tmp_path / "log"), str(folder)),
        ]
    )
    wait_for(lambda: "ready" in read(tmp_path / "log"))
    family = family_of(parent.pid, 6)

    parent.send_signal(fatal)
    parent.wait()

    assert gone(family)
    assert not folder.exists()


def test_a_killed_guard_takes_its_command_with_it(tmp_path: Path) -> None:
    process = start(DEAF, tmp_path)
    guard, command = family_of(process.pid, 2)

    guard.kill()

    assert process.stop() == -signal.SIGKILL
    assert gone([command])


def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.02)\n"
    process = start(FAMILY.replace("time.sleep(600)\n", waits), tmp_path)
    family = family_of(process.pid, 5)

    go.touch()
    assert process.wait() == 0

    assert gone(family)


def test_a_command_that_dies_early_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    process = start("print('ready'); raise SystemExit('the disk is full')", tmp_path)
    process.wait()

    with pytest.raises(ProcessDied, match=r"(?s)test ended with status 1.*the disk is full"):
        process.check()
    with pytest.raises(ProcessDied, match="the disk is full"):
        process.finish()


def test_a_command_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    process = Process("test", [str(tmp_path / "nothing")], log=tmp_path / "log")

    with pytest.raises(ProcessDied, match="No such file"):
        process.finish()


def test_a_wait_that_is_cut_short_ends_the_command(tmp_path: Path) -> None:
    process = start(DEAF, tmp_path, grace=0.1)
    family = family_of(process.pid, 2)

    def pause(seconds: float) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        process.wait(pause)
    assert gone(family)


def start(code: str, folder: Path, *, grace: float = 10.0) -> Process:
    log = folder / "log"
    process = Process("test", [sys.executable, "-S", "-c", code], log=log, grace=grace)
    wait_for(lambda: "ready" in read(log))
    return process


def read(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def family_of(pid: int, count: int) -> list[psutil.Process]:
    """Wait until a process and its descendants are so many, and list them."""
    root = psutil.Process(pid)
    wait_for(lambda: len(root.children(recursive=True)) == count - 1)
    return [root, *root.children(recursive=True)]


def gone(processes: list[psutil.Process]) -> bool:
    # A zombie whose parent has yet to look is gone as well.
    _, alive = psutil.wait_procs(processes, timeout=5)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen within 10 s")
