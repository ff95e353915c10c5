"""The keeper of one child process, which outlives neither its own parent nor its child.

Run by path with the standard library alone, so that it starts in a few milliseconds:

    python -I -S guard.py LIFELINE GRACE FOLDER COMMAND…

It starts COMMAND in a session of its own and waits for whichever comes first: the command ends, a
signal asks for its end, or LIFELINE closes, the read end of a pipe whose other end the parent
holds: a parent that was killed closes it too. The command then has GRACE seconds after SIGTERM
(none after a second signal), and whatever is left of its descendants is killed. Last, if LIFELINE
is closed, FOLDER is removed (unless it is ""), since nobody else will do it; and the guard exits as
the command did (128 + N for signal N).
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_END = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def main(arguments: list[str]) -> int:
    """Run a command until it ends or nobody wants it any more.

    Args:
        arguments: LIFELINE, GRACE, FOLDER and COMMAND, as the module says.

    Returns:
        The exit status.
    """
    lifeline, grace, folder, *command = arguments
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # Before the child: its end must not go unnoticed.
    woken = _wake_on_signals()
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    _wait(child, int(lifeline), woken, float(grace))
    _end_tree(child)
    if folder and int(lifeline) in select.select([int(lifeline)], [], [], 0)[0]:
        shutil.rmtree(folder, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _wait(child: "subprocess.Popen[bytes]", lifeline: int, woken: int, grace: float) -> None:
    watched = [woken, lifeline]
    deadline: float | None = None
    while child.poll() is None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return
        ready, _, _ = select.select(watched, [], [], left)
        asked = lifeline in ready
        if asked:
            watched.remove(lifeline)
        if woken in ready:
            signals = [number for number in os.read(woken, 64) if number in _END]
            if signals and deadline is not None:
                return
            asked = asked or bool(signals)
        if asked and deadline is None:
            deadline = time.monotonic() + grace
            child.terminate()


def _end_tree(child: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    # A descendant in a session of its own has become this process's child where the system lets
    # a process adopt orphans; its own children follow when it is gone.
    while orphans := _children():
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    try:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(pid) for pid in listed.split()]


def _wake_on_signals() -> int:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (*_END, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reading


def _die_with_parent() -> None:
    # For a guard that is itself killed: then the command goes at once, though not its descendants.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
