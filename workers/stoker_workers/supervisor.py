"""Keeps one worker process alive, and gives its jobs back at once when it dies.

A fault of CUDA is final for a process, and the kernel's out-of-memory killer asks nobody; so the
process that owns the device is expendable, and this one, which loads no models, is not.
"""

import logging
import signal
import subprocess
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
from stoker_workers.orphans import die_with_parent

logger = logging.getLogger(__name__)

# Seconds between a death and the next start, if deaths follow each other.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0
# A worker that lived for so many seconds was well; its death begins a new series.
_WELL: Final = 60.0
# Seconds between attempts to give back what could not be given back at once.
_AGAIN: Final = 1.0


class Pauses:
    """The pauses between deaths and the next starts: twice as long each time, within a bound."""

    def __init__(self) -> None:
        self._next = _FIRST_PAUSE

    def after(self, lived: float) -> float:
        """Give the seconds until the next start.

        Args:
            lived: Seconds for which the worker process lived that has just died.
        """
        pause = _FIRST_PAUSE if lived > _WELL else self._next
        self._next = min(2 * pause, _LONGEST_PAUSE)
        return pause


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
        # The dead processes whose jobs could not be given back yet.
        self._owed: list[str] = []

    def run(self) -> int:
        """Supervise until the worker ends in order, or is told to.

        Returns:
            The exit code of the last worker process; 128 + N if signal N ended it.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        pauses = Pauses()
        while True:
            began = time.monotonic()
            code = self._run_once()
            if self._stop.is_set() or code in (0, USAGE, CONFIG):
                return code if code >= 0 else 128 - code
            logger.warning("the worker process ended with %d; it is started again", code)
            if self._rest(pauses.after(time.monotonic() - began)):
                return 0

    def _run_once(self) -> int:
        worker_id = uuid4().hex[:12]
        self._child = subprocess.Popen(
            self._command,
            env=child_environment(worker_id=worker_id),
            # A Ctrl-C in the terminal is for this process alone, which passes one signal on.
            start_new_session=True,
            # Else nobody would give its jobs back when it dies in its turn.
            preexec_fn=die_with_parent,
        )
        if self._stop.is_set():  # told while it was being started
            self._child.terminate()
        code = self._wait(self._child)
        # One that ended in order has given back what it held, or has taken nothing.
        if code not in (0, USAGE, CONFIG):
            self._owed.append(worker_id)
            error = self._give_back()
            if error is not None:
                logger.warning(
                    "its jobs could not be given back (%s): this is tried again, and they go to "
                    "another worker in %.0f s at the latest",
                    type(error).__name__,
                    self._settings.lease,
                )
        return code

    def _wait(self, child: "subprocess.Popen[bytes]") -> int:
        """Wait until a process ends, and give back meanwhile what could not be given back."""
        while self._owed:
            try:
                return child.wait(_AGAIN)
            except subprocess.TimeoutExpired:
                self._give_back()
        return child.wait()

    def _rest(self, seconds: float) -> bool:
        """Wait until the next start, and give back meanwhile; tells whether it is told to end."""
        until = time.monotonic() + seconds
        while self._owed and (left := until - time.monotonic()) > 0:
            if self._stop.wait(min(left, _AGAIN)):
                return True
            self._give_back()
        return self._stop.wait(max(0.0, until - time.monotonic()))

    def _give_back(self) -> redis.RedisError | None:
        """Give back what dead processes still held; gives what keeps it from that, if anything."""
        client = connect(self._settings)
        ledger = Ledger(client, keys.HELD, keys.HELD_MESSAGES, self._settings.lease)
        try:
            while self._owed:
                done = give_back_of(ledger, self._owed[0])
                del self._owed[0]
                if done:
                    logger.warning("%d jobs of the dead worker went back to the queue", done)
        except redis.RedisError as error:
            return error
        finally:
            client.close()
        return None

    def _pass_on(self, number: int, _: object) -> None:
        self._stop.set()
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
