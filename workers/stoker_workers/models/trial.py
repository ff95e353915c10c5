"""Loads a model in a process of its own first, where the load may kill the process that does it.

A worker that is killed takes along all that it runs, and nobody knows which of it was to blame. A
process that does nothing but load one model says it by its death. It is told line by line what to
load, and to go on once there is memory; it tells that it has begun, how many bytes the model will
take, and, by its exit code, that it outlived the load: be the model loaded, or an exception raised,
which the worker's own load will raise as well. One that loses the device, or hangs, would end the
worker too.
"""

import faulthandler
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from pydantic import BaseModel

from stoker_config.models_file import ModelEntry
from stoker_config.settings import child_environment
from stoker_tasks.errors import ModelLoadFailed
from stoker_workers.engine.forward import is_device_fault
from stoker_workers.engine.model import ModelKey
from stoker_workers.engine.progress import UNWATCHED, Progress, at_once
from stoker_workers.orphans import die_with_parent

if TYPE_CHECKING:  # the process of a trial imports torch only when it can be ended
    from stoker_workers.models.device import Device

logger = logging.getLogger(__name__)

_PROGRAM: Final = (sys.executable, "-m", "stoker_workers.models.trial")
_BEGUN: Final = b"begun\n"
_GO: Final = b"go\n"
# No code that a model may bring ends its process with this by accident.
_OUTLIVED: Final = 93
# It lost its device.
_LOST: Final = 94
# The kernel kills this process before any other.
_FIRST_TO_GO: Final = "1000"
# By these a service manager, a shutdown or a person ends the worker, and all that is with it.
_OF_OTHERS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Wanted(BaseModel):
    """What is loaded on trial.

    Attributes:
        key: The model.
        entry: How the models file lists it.
        device: The name of the device.
    """

    key: ModelKey
    entry: ModelEntry
    device: str


def load_on_trial(
    key: ModelKey,
    device: "Device",
    entry: ModelEntry,
    progress: Progress = UNWATCHED,
    hang_seconds: float | None = None,
    program: Sequence[str] = _PROGRAM,
) -> Generator[int, None, None]:
    """Load a model in a process of its own, which ends with that.

    If no such process can be started, or it ends before it has begun with the load, there is no
    trial.

    Args:
        key: The task, the model, its revision and its parts.
        device: Where to put it.
        entry: How the models file lists it.
        progress: Is told of it.
        hang_seconds: How long the load may take, once there is memory; any time if None.
        program: What the process runs.

    Yields:
        How many bytes it will take: goes on when they are free.

    Raises:
        ModelLoadFailed: The process did not outlive the load.
    """
    # What a model that was given up held until now.
    device.release_memory()
    progress.step("loading on trial")
    try:
        process = subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=child_environment(),
            # A signal that is meant for the worker and those with it is none of the load's.
            start_new_session=True,
        )
    except OSError as error:
        logger.warning("a model is loaded without a trial: %s", type(error).__name__)
        return
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        wanted = _Wanted(key=key, entry=entry, device=device.name)
        _tell(process.stdin, f"{wanted.model_dump_json()}\n".encode())
        if process.stdout.readline() != _BEGUN:
            logger.warning("a model is loaded without a trial, which could not begin")
            return
        # It may have to download the model.
        progress.step("loading on trial", timed=False)
        size = process.stdout.readline()
        if size:
            yield int(size)
            device.release_memory()
            # One that hangs is ended here, and this worker lives on.
            progress.step("loading on trial", timed=False)
            _tell(process.stdin, _GO)
        code: int | None = process.wait(hang_seconds)
    except subprocess.TimeoutExpired:
        progress.step("ending its trial")
        code = None
    finally:
        _end(process)
    if code == _OUTLIVED:
        return
    failure = _failure(key.listed or key.model, code)
    logger.error("%s", failure)
    raise failure


def _tell(pipe: IO[bytes], line: bytes) -> None:
    # Whether it is there to hear it, its exit code tells.
    with suppress(BrokenPipeError):
        pipe.write(line)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with process, suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _failure(name: str, code: int | None) -> ModelLoadFailed:
    if code is None or code == _LOST:
        what = "hung (STOKER_HANG_TIMEOUT)" if code is None else "lost the device"
        return ModelLoadFailed(
            f"loading {name} {what} in the process in which that was tried: load it otherwise "
            "(models file), or with other versions of its libraries"
        )
    what = f"loading {name} ended the process in which that was tried"
    if code >= 0:
        return ModelLoadFailed(
            f"{what}, with exit code {code}: code that comes with it ends whatever runs it; have "
            "it mended, or use another model",
            {"exit_code": code},
        )
    number = -code
    details: dict[str, int | bool] = {"signal": number}
    if number == signal.SIGKILL:
        why = (
            "most likely for lack of memory: use a smaller or quantised model, or give the worker "
            "more"
        )
        # Somebody else may have taken the memory.
        details["retryable"] = True
    else:
        why = (
            "since a library crashed, and the worker's log says where: load it otherwise (models "
            "file), or with other versions of its libraries"
        )
    return ModelLoadFailed(
        f"{what}, by signal {number} ({signal.strsignal(number)}), {why}", details
    )


def main() -> None:
    """Be the process of a trial; never returns."""
    try:
        _run()
    except BaseException as error:  # noqa: BLE001 - whatever is raised, this process is alive
        if is_device_fault(error):
            os._exit(_LOST)
    os._exit(_OUTLIVED)


def _run() -> None:
    # Its end would be taken for the load's doing. It ends with the worker.
    for each in _OF_OTHERS:
        signal.signal(each, signal.SIG_IGN)
    heard, told = _take(0, "rb"), _take(1, "wb")
    die_with_parent()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    # The worker's own load says what there is to say; this one, if anything, where it crashed.
    logging.disable()
    logging.captureWarnings(True)
    faulthandler.enable()
    wanted, go = heard.readline(), threading.Event()
    threading.Thread(target=_follow, args=(heard, go), daemon=True).start()
    _load(_Wanted.model_validate_json(wanted), told, go)


def _load(wanted: _Wanted, told: IO[bytes], go: threading.Event) -> None:
    from stoker_workers.models.catalog import load_in_steps
    from stoker_workers.models.device import find_device
    from stoker_workers.models.extensions import extended

    course = load_in_steps(wanted.key, find_device(wanted.device), wanted.entry)
    told.write(_BEGUN)
    told.write(b"%d\n" % next(course))
    go.wait()
    extended(at_once(course), wanted.entry.loading)


def _take(number: int, mode: str) -> IO[bytes]:
    """Take a standard stream over, so that nobody else reads or writes it: there is none for them.

    Args:
        number: Its file descriptor.
        mode: `rb` or `wb`.
    """
    taken = os.fdopen(os.dup(number), mode, buffering=0)
    with open(os.devnull, mode) as nothing:
        os.dup2(nothing.fileno(), number)
    return taken


def _follow(heard: IO[bytes], go: threading.Event) -> None:
    """Wait for the word to go on, and end this process when nobody is there any more."""
    while heard.readline():
        go.set()
    os._exit(1)


if __name__ == "__main__":
    main()
