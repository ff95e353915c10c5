"""What the command line reads and shows, and what stays out of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from typer.testing import CliRunner

from stoker.cli import doctor, exits, main, show
from stoker.cli.jobfile import read_inputs, read_lines, read_parameters
from stoker.local.parts import PIPELINES, Tried, try_parts
from stoker_config.settings import Settings
from stoker_tasks.catalog import CATALOG, find
from stoker_tasks.errors import InvalidInput
from stoker_tasks.job import Job
from stoker_tasks.parts import PARTS
from stoker_tasks.result import Failure


def test_a_parameter_is_json_or_else_a_string() -> None:
    given = ["top_k=3", "function_to_apply=none", 'ignore=["O"]', "text=a=b", "x=NaN"]

    parameters = read_parameters(given)

    assert parameters == {
        "top_k": 3,
        "function_to_apply": "none",
        "ignore": ["O"],
        "text": "a=b",
        "x": "NaN",
    }


def test_a_text_that_begins_with_an_at_sign_is_a_text() -> None:
    assert read_inputs(find("text-classification"), "@home") == "@home"


def test_a_line_cannot_exhaust_the_reader() -> None:
    lines = [b'{"inputs": ' + b"[" * 100_000, b"\xff\xfe", b'{"inputs": NaN}', b'{"inputs": "x"}']

    read = list(read_lines(lines, find("text-classification"), {}))

    assert [type(line.job).__name__ for line in read] == ["Failure"] * 3 + ["TextClassification"]
    assert isinstance(read[1].job, Failure)
    assert read[1].job.message == "line 2: not JSON in UTF-8"


def test_a_line_wins_over_what_is_common() -> None:
    common = {"model": "a", "parameters": {"top_k": 1, "truncation": True}}
    lines = [b'{"inputs": "x", "model": "b", "parameters": {"top_k": 2}}']

    [line] = read_lines(lines, find("text-classification"), common)

    assert isinstance(line.job, Job)
    assert line.job.model == "b"
    assert line.job.parameters.given() == {"top_k": 2, "truncation": True}


def test_errors_quote_no_password() -> None:
    assert exits.without_password("redis://user:secret@host:1/0") == "redis://host:1/0"
    assert exits.without_password("unix:///run/redis.sock") == "unix:///run/redis.sock"


def test_long_vectors_are_cut_for_a_terminal_only() -> None:
    vector = [0.5] * 384

    shortened = show._shortened([{"vector": vector, "label": "x"}])

    assert shortened[0]["vector"][-1] == "… 376 more (--json prints all)"
    assert shortened[0]["label"] == "x"


def test_doctor_names_the_tasks_that_lack_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "PIL" else object())

    [check] = doctor._worker_parts()

    assert check.state == "warning"
    assert check.cure is not None
    assert "image-classification needs PIL" in check.cure
    assert "automatic-speech-recognition" not in check.cure
    assert ": pip install" in check.cure
    able = sum("PIL" not in spec.needs for spec in CATALOG.values())
    assert f"{able} of {len(CATALOG)} tasks" in check.found


def test_doctor_without_torch_sees_a_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)

    [check] = doctor._worker_parts()

    assert check.state == "warning"
    assert check.cure is not None
    assert "a producer needs none of it" in check.cure


@pytest.mark.parametrize(
    ("info", "state", "words"),
    [
        ({"redis_version": "6.0.16"}, "failure", "Stoker needs 6.2 or newer"),
        ({"redis_version": "6.2.14", "maxmemory": 0}, "ok", None),
        (
            {"redis_version": "8.2.1", "maxmemory": 1, "maxmemory_policy": "allkeys-lru"},
            "warning",
            "set maxmemory-policy noeviction",
        ),
        (
            {"redis_version": "8.2.1", "maxmemory": 1, "maxmemory_policy": "noeviction"},
            "ok",
            None,
        ),
    ],
)
def test_doctor_judges_a_redis_server(
    monkeypatch: pytest.MonkeyPatch, info: dict[str, Any], state: str, words: str | None
) -> None:
    server = MagicMock()
    server.__enter__.return_value.info.return_value = info
    monkeypatch.setattr("stoker_config.servers.connect", lambda settings: server)

    [check] = doctor._redis(Settings.model_validate({"redis_url": "redis://:secret@host/0"}))

    assert check.state == state
    assert check.found.startswith(f"{info['redis_version']} at redis://host/0")
    assert (check.cure is None) if words is None else check.cure and words in check.cure


def test_commands_of_a_producer_import_neither_model_libraries_nor_celery() -> None:
    program = (
        "import sys; sys.modules.update(torch=None, transformers=None, numpy=None)\n"
        "from stoker.cli import doctor, jobs, tasks\n"
        "heavy = {'celery', 'kombu', 'redis'} & set(sys.modules)\n"
        "import stoker.cli.main\n"
        "sys.exit(f'imported at start: {heavy}' if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "text-classifikation", "--inputs", "x"], "near it: text-classification"),
        (["submit", "text-classification"], "give one of --inputs TEXT, --file PATH and -"),
        (["submit", "text-classification", "x"], "a file of jobs is given by --file"),
        (["submit", "text-classification", "--file", "no-such"], "--file no-such: No such file"),
        (["submit", "text-classification", "--inputs", "x", "--param", "k"], "write name=value"),
        (
            ["submit", "text-classification", "--inputs", "x", "--param", "topk=1"],
            "parameters.topk: unknown parameter; text-classification takes",
        ),
        (["submit", "text-classification", "-", "--param", "top_k=many"], "parameters.top_k"),
        (["submit", "text-classification", "--inputs", "x", "--priority", "top"], "priority"),
        (["submit", "text-classification", "--inputs", "x", "--pool", "A B"], "a pool's name"),
        (["submit", "image-classification", "--inputs", "x.png"], "--inputs @PATH"),
        (["submit", "image-classification", "--inputs", "@x.png"], "@x.png: No such file"),
        (["tasks", "nope"], "no task has the name 'nope'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(main.app, arguments)

    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.exit_code == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Is a directory"):
        read_inputs(find("image-classification"), f"@{tmp_path}")


def test_a_file_may_be_named_by_its_url() -> None:
    url = "https://files.test/a.png"

    assert read_inputs(find("image-classification"), url) == {"url": url}
    assert read_inputs(find("text-classification"), url) == url


def test_doctor_tries_each_part_and_outlives_one_that_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "greets.py").write_text("print('hello')")
    (tmp_path / "broken.py").write_text("raise OSError('libtorch_cuda.so: not found')")
    (tmp_path / "kills.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    tried = try_parts(["greets", "absent_part", "kills", "broken", "json"])

    assert [(each.module, each.installed, each.works) for each in tried] == [
        ("greets", True, True),
        ("absent_part", False, False),
        ("kills", True, False),
        ("broken", True, False),
        ("json", True, True),
    ]
    assert tried[2].error == "the process that imported it died of signal 11"
    assert tried[3].error == "OSError: libtorch_cuda.so: not found"


def test_doctor_says_what_each_part_opens_and_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "which", lambda name: None)
    tried = [
        Tried(module=PIPELINES, installed=True, error="RuntimeError: torchvision::nms"),
        Tried(module="torchvision", installed=True, error="RuntimeError: torchvision::nms"),
        Tried(module="pytesseract", installed=True),
        Tried(module="PIL", installed=False),
        Tried(module="peft", installed=False),
        Tried(module="scipy", installed=True),
    ]

    checks = {each.name: each for each in doctor._parts(tried)}

    assert checks["optional parts"].found == "scipy can be imported"
    assert checks["tesseract"].cure == "install tesseract-ocr"
    assert checks["transformers"].state == "failure"
    assert "torchvision::nms" in checks["torchvision"].found
    assert "image-classification" in checks["PIL"].found
    assert checks["PIL"].cure == "pip install Pillow"
    assert checks["peft"].found == "not installed; it is for " + PARTS["peft"].opens


def test_every_module_that_a_task_needs_is_a_known_part() -> None:
    assert {module for spec in CATALOG.values() for module in spec.needs} <= set(PARTS)
