"""Child processes that leave nothing behind, whatever ends their parent."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from stoker.local import guard
from stoker.local.errors import ProcessDied
from stoker.local.stop import Pause

TAIL_LINES: Final = 20
# How long a guard may take beyond its grace: it has only to kill and to remove a folder.
_GUARD_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05


class Process:
    """A running command under a guard (see `guard.py`).

    A command whose parent is killed, with SIGKILL even, is ended with all of its descendants.

    Args:
        name: What messages call it.
        command: The program and its arguments. No secrets: any user of a machine can read them.
        environment: Its environment; this process's own if None.
        log: The file to which its output is appended; this process's own output if None.
        grace: Seconds between SIGTERM and SIGKILL.
        remove: A folder that is removed with it if this process is killed; it is this process's
            to remove otherwise.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        grace: float = 10.0,
        remove: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._grace = grace
        reading, self._lifeline = os.pipe()
        output = log.open("ab") if log else None
        try:
            self._guard = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", guard.__file__),
                    *(str(reading), str(grace), str(remove or "")),
                    *command,
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                pass_fds=(reading,),
                # A Ctrl-C in the terminal is for the parent alone, which stops things in order.
                start_new_session=True,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(reading)
            if output:
                output.close()

    @property
    def pid(self) -> int:
        """The process ID of its guard."""
        return self._guard.pid

    def poll(self) -> int | None:
        """Give the exit status (128 + N after signal N), or None while it runs."""
        return self._guard.poll()

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            ProcessDied: It has ended; the message has the last lines of its log.
        """
        if self.poll() is not None:
            raise self.died()

    def wait(self, pause: Pause = time.sleep) -> int:
        """Wait until it has ended by itself; end it if the wait is cut short.

        Args:
            pause: Sleeps between two looks; whatever it raises cuts the wait short.

        Returns:
            The exit status.
        """
        try:
            while self.poll() is None:
                pause(_LOOK_SECONDS)
        finally:
            code = self.stop()
        return code

    def finish(self, pause: Pause = time.sleep) -> None:
        """Wait until it has done its work; see `wait`.

        Raises:
            ProcessDied: It has failed; the message has the last lines of its log.
        """
        if self.wait(pause) != 0:
            raise self.died()

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> int:
        """End it and all of its descendants: SIGTERM, then SIGKILL when its grace is over.

        Args:
            hurry: Whether to take its grace away; asked again and again.

        Returns:
            The exit status; that of its own end if it had ended before.
        """
        if self.poll() is None:
            self._guard.terminate()
        deadline = time.monotonic() + self._grace + _GUARD_SECONDS
        while self.poll() is None:
            if time.monotonic() > deadline:
                self._guard.kill()
            elif hurry():
                # A second signal to the guard means that.
                self._guard.terminate()
            time.sleep(_LOOK_SECONDS)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        return self._guard.returncode

    def died(self) -> ProcessDied:
        """Say that it has ended and with which last words."""
        code = self.stop()
        how = f"was ended by signal {code - 128}" if code > 128 else f"ended with status {code}"
        tail = self.tail()
        return ProcessDied(f"{self.name} {how}" + (f"; its last lines:\n{tail}" if tail else ""))

    def tail(self) -> str:
        """Give the last lines of its log; nothing if it has none."""
        if self.log is None:
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
