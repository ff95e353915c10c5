"""A model whose loading kills is found out by a process that does nothing else."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from stoker_config.models_file import Loading, ModelEntry
from stoker_tasks.errors import ModelLoadFailed
from stoker_workers.engine.model import ModelKey
from stoker_workers.models import trial
from stoker_workers.models.device import find_device
from stoker_workers.models.trial import load_on_trial
from stoker_workers.models.weights import expected_memory
from tests.support.own_code import KILL, with_own_code
from tests.support.until import until
from tests.tiny.fixture import TinyModel

CPU = find_device("cpu")
CLASSIFY = "text-classification"
OF_KERNEL = Path("/proc/self/oom_score_adj")
on_linux = pytest.mark.skipif(not OF_KERNEL.exists(), reason="the kernel is another one")
# What the process of a trial says until there is memory for its model.
TALK = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
print("begun", 7, sep="\\n", flush=True)
list(zip("ab", sys.stdin))
"""
# A trial whose load loses its device.
LOSES = """
from stoker_workers.models import trial

def lose(wanted, told, go):
    told.write(b"begun\\n7\\n")
    go.wait()
    raise RuntimeError("CUDA error: an illegal memory access was encountered")

trial._load = lose
trial.main()
"""


def on_trial(folder: Any, *program: str) -> list[int]:
    """Load a model on trial, on the CPU; give what it asked for."""
    entry = ModelEntry(model=str(folder), loading=Loading(trust_remote_code=True))
    more: dict[str, Any] = {"program": (sys.executable, *program)} if program else {}
    return list(load_on_trial(ModelKey(CLASSIFY, str(folder)), CPU, entry, **more))


def trials(word: str) -> list[psutil.Process]:
    """Find the processes of trials by a word of their commands."""
    return [each for each in psutil.Process().children() if word in " ".join(each.cmdline())]


def test_a_load_that_kills_is_told_from_those_that_do_not(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    good = tiny("bert_classifier")
    deadly = with_own_code(good, tmp_path / "deadly", KILL)
    with ThreadPoolExecutor() as pool:
        killed, loaded = [pool.submit(on_trial, each) for each in (deadly, good)]
    size = expected_memory(Path(good), Loading(), CPU)

    assert loaded.result() == [size]
    error = killed.exception()
    assert isinstance(error, ModelLoadFailed)
    assert (error.details, error.retryable) == ({"signal": 9, "retryable": True}, True)
    assert f"loading {deadly} ended the process" in error.message
    assert trials("stoker_workers.models.trial") == []


@pytest.mark.parametrize(
    ("end", "details", "why"),
    [
        ("os._exit(0)", {"exit_code": 0}, "code that comes with it"),
        ("os.abort()", {"signal": 6}, "a library crashed"),
    ],
)
def test_however_it_ends_it_did_not_outlive_the_load_unless_it_says_so(
    end: str, details: dict[str, int], why: str
) -> None:
    with pytest.raises(ModelLoadFailed, match=why) as caught:
        on_trial("m", "-c", TALK + end)
    assert caught.value.details == details


@pytest.mark.parametrize(
    "program", [("/no/such/program",), (sys.executable, "-c", "raise SystemExit(1)")]
)
def test_where_no_process_can_be_started_there_is_no_trial(
    program: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    entry = ModelEntry(model="m")
    assert list(load_on_trial(ModelKey(CLASSIFY, "m"), CPU, entry, program=program)) == []
    assert "without a trial" in caplog.text


def test_a_load_that_loses_its_device_did_not_outlive_it() -> None:
    with pytest.raises(ModelLoadFailed, match="lost the device in the process in which that was"):
        on_trial("m", "-c", LOSES)


def test_a_load_that_hangs_is_ended_and_the_worker_lives_on() -> None:
    program = (sys.executable, "-c", f"{TALK}import time; time.sleep(3600)")
    entry = ModelEntry(model="m")
    course = load_on_trial(ModelKey(CLASSIFY, "m"), CPU, entry, hang_seconds=0.1, program=program)
    assert next(course) == 7
    with pytest.raises(ModelLoadFailed, match="STOKER_HANG_TIMEOUT"):
        next(course)
    assert trials("begun") == []


def test_a_load_that_is_given_up_while_it_waits_for_memory_ends_its_process() -> None:
    program = (sys.executable, "-c", TALK)
    course = load_on_trial(ModelKey(CLASSIFY, "m"), CPU, ModelEntry(model="m"), program=program)
    assert next(course) == 7
    [process] = trials("begun")
    course.close()
    assert not process.is_running()


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    program = (sys.executable, "-m", "stoker_workers.models.trial")
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_it_ends_when_nobody_is_there_any_more(process: "subprocess.Popen[bytes]") -> None:
    wanted = {"key": {"task": CLASSIFY, "model": "m"}, "entry": {"model": "m"}, "device": "cpu"}
    output, _ = process.communicate(f"{json.dumps(wanted)}\n".encode(), timeout=60)
    # It has not begun: to import what loads takes longer.
    assert (process.returncode, output) == (1, b"")


def test_an_exception_is_outlived(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.write(b"nothing that could be read\n")
    process.stdin.flush()
    assert process.wait(60) == trial._OUTLIVED


@on_linux
def test_the_kernel_takes_it_before_the_worker(process: "subprocess.Popen[bytes]") -> None:
    if (own := OF_KERNEL.read_text()) == "1000\n":
        pytest.skip("the kernel takes this process first as well")
    score = Path(f"/proc/{process.pid}/oom_score_adj")
    assert score.read_text() in (own, "1000\n")
    until(lambda: score.read_text() == "1000\n")


@on_linux
def test_what_ends_the_worker_and_all_with_it_is_no_verdict(
    process: "subprocess.Popen[bytes]",
) -> None:
    status = Path(f"/proc/{process.pid}/status")
    until(lambda: _ignores(status, signal.SIGTERM))
    process.terminate()
    process.send_signal(signal.SIGHUP)
    assert process.stdin is not None
    process.stdin.write(b"nothing that could be read\n")
    process.stdin.flush()
    assert process.wait(60) == trial._OUTLIVED


def _ignores(status: Path, number: int) -> bool:
    mask = next(each for each in status.read_text().splitlines() if each.startswith("SigIgn"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)
