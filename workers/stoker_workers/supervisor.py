"""Keeps one worker process alive, and gives its jobs back at once when it dies.

A fault of CUDA is final for a process, and the kernel's out-of-memory killer asks nobody; so the
process that owns the device is expendable, and this one, which loads no models, is not.
"""

import ctypes
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import redis

from stoker_config import keys
from stoker_config.servers import connect
from stoker_config.settings import Settings, child_environment
from stoker_workers.broker.leases import give_back_of
from stoker_workers.broker.ledger import Ledger
from stoker_workers.exits import CONFIG, USAGE

logger = logging.getLogger(__name__)

# Seconds between a death and the next start, if deaths follow each other.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0
# A worker that lived for so many seconds was well; its death begins a new series.
_WELL: Final = 60.0
_PR_SET_PDEATHSIG: Final = 1


class Supervisor:
    """Starts a worker process, and starts it again when it dies.

    Args:
        settings: The worker's settings.
        command: The program of the worker process and its arguments.
    """

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._settings = settings
        self._command = command
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Supervise until the worker ends in order, or is told to.

        Returns:
            The exit code of the last worker process; 128 + N if signal N ended it.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            code = self._run_once()
            if self._stop.is_set() or code in (0, USAGE, CONFIG):
                return code if code >= 0 else 128 - code
            pause = _FIRST_PAUSE if time.monotonic() - began > _WELL else pause
            logger.warning("the worker process ended with %d; it is started again", code)
            if self._stop.wait(pause):
                return 0
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _run_once(self) -> int:
        worker_id = uuid4().hex[:12]
        self._child = subprocess.Popen(
            self._command,
            env=child_environment(worker_id=worker_id),
            # A Ctrl-C in the terminal is for this process alone, which passes one signal on.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        if self._stop.is_set():  # told while it was being started
            self._child.terminate()
        code = self._child.wait()
        # One that ended in order has given back what it held, or has taken nothing.
        if code not in (0, USAGE, CONFIG):
            self._give_back(worker_id)
        return code

    def _give_back(self, worker_id: str) -> None:
        """Give back what the process still held; failing that, its leases lapse."""
        client = connect(self._settings)
        ledger = Ledger(client, keys.HELD, keys.HELD_MESSAGES, self._settings.lease)
        try:
            done = give_back_of(ledger, worker_id)
        except redis.RedisError as error:
            logger.warning(
                "its jobs could not be given back (%s); they go to another worker in %.0f s",
                type(error).__name__,
                self._settings.lease,
            )
        else:
            if done:
                logger.warning("%d jobs of the dead worker went back to the queue", done)
        finally:
            client.close()

    def _pass_on(self, number: int, _: object) -> None:
        self._stop.set()
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)


def _die_with_parent() -> None:
    # Else nobody would give its jobs back when it dies in its turn.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
