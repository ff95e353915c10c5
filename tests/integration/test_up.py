"""`stoker up` as a user runs it: all of it is there, and nothing of it stays."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from stoker import Client, FeatureExtraction
from tests.support.until import until
from tests.support.worker import ROOT, environment
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]

# The worker imports torch and transformers, on a busy machine.
READY_SECONDS = 120.0
# More than a worker can finish before it is told to stop.
JOBS = 20_000


@dataclass
class Up:
    """A running `stoker up`."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def said(self, pattern: str) -> str:
        """Wait for a line and give what the pattern's group matches in it."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            found = re.search(pattern, self.output.read_text())
            if found:
                return found[1]
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.1)
        raise AssertionError(f"no {pattern!r} in:\n{self.output.read_text()}")

    @property
    def url(self) -> str:
        return self.said(r"Redis +(unix://\S+)")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def assert_nothing_is_left(self, family: list[psutil.Process]) -> None:
        _, alive = psutil.wait_procs(family, timeout=10)
        assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
        socket = Path(self.url.removeprefix("unix://"))
        assert not socket.exists()
        assert not socket.parent.exists()
        assert list(self.output.parent.glob("stoker-*")) == []


@contextmanager
def up(folder: Path, *options: str) -> Iterator[Up]:
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "stoker.cli.main", "up", *options],
            cwd=ROOT,
            # A terminal's Ctrl-C reaches all processes of the group; here it must reach this one.
            start_new_session=True,
            env={**environment("redis://unused"), "TMPDIR": str(folder)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Up(process, output)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_sigterm_under_load_loses_no_job_and_leaves_nothing(
    short_path: Path, tiny: TinyModel
) -> None:
    with up(short_path, "--preload", f"feature-extraction={tiny('bert_encoder')}") as running:
        with Client(running.url) as client:
            # Flower is waited for before the load: meanwhile the worker would finish it.
            first = client.submit(FeatureExtraction(inputs="the first"))
            first.wait(60)
            page = running.said(r"Flower +(http://\S+)") + f"/task/{first.id}"
            until(lambda: shows_runtime(page), 60)
            handles = client.submit_many(
                [FeatureExtraction(inputs=f"number {number}") for number in range(JOBS - 1)]
            )
            handles[0].wait(60)
        family = running.family()
        running.process.send_signal(signal.SIGTERM)
        code = running.process.wait(90)

        stopped = running.said(r"Stopped: (.*)")
        numbers = [int(number) for number in re.findall(r"\d+", stopped)]
        assert code == 0
        assert len(numbers) == 3
        done, queued, unacknowledged = numbers
        assert 1 < done < JOBS
        assert (done + queued, unacknowledged) == (JOBS, 0)
        running.assert_nothing_is_left(family)


def test_ctrl_c_stops_all_of_it(short_path: Path) -> None:
    with up(short_path, "--no-flower") as running:
        url = running.url
        family = running.family()
        os.killpg(running.process.pid, signal.SIGINT)

        assert running.process.wait(60) == 0
        assert url.startswith("unix://")
        running.assert_nothing_is_left(family)


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_ended_while_it_starts_leaves_nothing(
    asked: signal.Signals, short_path: Path
) -> None:
    with up(short_path) as running:
        # Redis, Flower and the worker, each with its guard.
        wait_for_family(running, 6)
        family = running.family()
        running.process.send_signal(asked)
        running.process.wait(60)

        _, alive = psutil.wait_procs(family, timeout=10)
        assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
        assert list(short_path.glob("stoker-*")) == []


def test_a_worker_that_cannot_start_is_explained(short_path: Path) -> None:
    with up(short_path, "--no-flower", "--device", "cuda:99") as running:
        assert running.process.wait(READY_SECONDS) == 1

        said = running.output.read_text()
        assert "the worker ended with status" in said
        assert "cuda:99" in said
        assert "Traceback" not in said.partition("its last lines")[0]
        assert list(short_path.glob("stoker-*")) == []


def wait_for_family(running: Up, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(running.family()) < count:
        assert running.process.poll() is None, running.output.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def shows_runtime(url: str) -> bool:
    with suppress(OSError):
        return bool(re.search(r"Runtime\D+[\d.]+", re.sub(r"<[^>]*>|\s+", " ", read(url))))
    return False


def read(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return str(answer.read().decode())
