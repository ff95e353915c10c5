"""What README.md and the examples show is run here, as it stands, against a running worker."""

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import celery_url
from tests.support.worker import ROOT, Worker, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
URL = "redis://localhost:6379/0"
# They run until they are stopped, or bring models along: they have tests of their own.
NOT_RUN = {"demo", "up", "worker"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", README)


def run(command: list[str], redis_url: str, **further: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        env={**environment(redis_url), **further},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("code", blocks("python"), ids=["producer", "stock Celery"])
def test_the_python_of_the_readme_runs(code: str, redis_url: str, fake_worker: Worker) -> None:
    done = run([sys.executable, "-c", code.replace(URL, celery_url(redis_url))], redis_url)

    assert done.returncode == 0, done.stderr
    assert "I like you" in done.stdout


def test_the_commands_of_the_readme_run(
    redis_url: str, fake_worker: Worker, tmp_path: Path
) -> None:
    lines = [line for block in blocks("shell") for line in block.splitlines()]
    commands = [line for line in lines if re.search(r"(^|\| )stoker ", line)]
    stoker = tmp_path / "stoker"
    stoker.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m stoker.cli.main "$@"\n')
    stoker.chmod(0o755)

    done = run(
        ["/bin/sh", "-ec", "\n".join(commands)],
        redis_url,
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )

    assert len(commands) >= 5
    assert done.returncode == 0, done.stderr


def test_every_command_that_is_named_exists() -> None:
    make = set(re.findall(r"(?m)(?:^|`)make (\w+)", README))
    targets = set(re.findall(r"(?m)^(\w+):", (ROOT / "Makefile").read_text()))
    named = set(re.findall(r"(?m)(?:^|`|\| )stoker (\w+)", README))
    helped = run([sys.executable, "-m", "stoker.cli.main", "--help"], URL).stdout

    assert make <= targets
    assert {"doctor", "tasks", "submit", "worker"} <= named
    assert all(re.search(rf"\b{name}\b", helped) for name in named | NOT_RUN)


def test_the_example_of_a_producer(redis_url: str, fake_worker: Worker) -> None:
    done = run([sys.executable, "examples/submit.py", "good", "bad"], redis_url)

    assert re.fullmatch(
        r"good: good \(1\.000\), in a batch of 1, \d+ ms on the device\n", done.stdout
    )
    assert done.stderr == "bad: invalid_input: the word bad is not taken\n"
    assert done.returncode == 1


def test_the_example_of_a_stock_celery_app(redis_url: str, fake_worker: Worker) -> None:
    url = celery_url(redis_url)

    done = run([sys.executable, "examples/stock_celery.py"], redis_url, CELERY_URL=url)

    assert done.returncode == 0, done.stderr
    one, several, wrong = done.stdout.splitlines()
    assert "I like you." in one
    assert [word for word in ("Once", "Then", "Now") if word in several] == ["Once", "Then", "Now"]
    assert wrong.startswith("InvalidInput text-classification: parameters.topk: unknown parameter")


def test_the_example_of_a_web_backend(redis_url: str, fake_worker: Worker) -> None:
    process = subprocess.Popen(
        [sys.executable, "examples/web_backend.py", "0"],
        env=environment(redis_url),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()

        code, submitted = ask(url, "POST", b"some words")
        while code == 202:
            code, body = ask(f"{url}/{submitted['id']}", "GET")
        canceled = ask(f"{url}/{submitted['id']}", "DELETE")
        unknown = ask(f"{url}/no-such-job", "GET")
    finally:
        process.terminate()
        process.communicate()

    assert (code, body["status"], body["output"][0]["label"]) == (200, "succeeded", "some words")
    assert canceled[1]["answer"] == "already_finished"
    assert unknown[0] == 404


def ask(url: str, method: str, data: bytes | None = None) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
