"""The list of what is relied on is complete, true of the installed versions, and can fail."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from celery.exceptions import ImproperlyConfigured

from stoker_workers.broker import reliance
from stoker_workers.exits import USAGE
from tests.support.worker import ROOT, environment

BROKER = Path(reliance.__file__).parent


def test_the_installed_versions_have_it_all() -> None:
    reliance.check()


@pytest.mark.parametrize(
    "name",
    ["Channel._renamed", "Channel()._renamed", "NoClass.x", "no_function"],
)
def test_what_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliance, "RELIED_ON", (("kombu.transport.redis", name),))

    with pytest.raises(ImproperlyConfigured, match=r"kombu\.transport\.redis:"):
        reliance.check()


@pytest.mark.parametrize(
    "name",
    ["celery.app.trace:build_tracer", "celery.backends.redis:CHORD_CLEANUP_LUA"],
)
def test_a_worker_says_so_before_it_meets_it(name: str) -> None:
    module, _, missing = name.partition(":")
    start = (
        f"import sys, {module} as module; del module.{missing}; sys.argv[1:] = "
        "['-A', 'stoker_workers.app', 'worker']; from celery.__main__ import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", start],
        env=environment("redis://127.0.0.1:1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == USAGE
    _, _, lacks = ended.stderr.partition("lacks what this version of Stoker relies on: ")
    assert name in lacks


@pytest.mark.parametrize("installed", ["5.6.3", "5.8.0", "5.70.1"])
def test_another_release_is_refused(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliance, "version", {"celery": installed, "kombu": "5.7.9"}.get)

    with pytest.raises(ImproperlyConfigured) as raised:
        reliance.check()

    assert str(raised.value) == (
        f"celery {installed} is installed, and 5.7.* is supported: "
        "pip install 'celery==5.7.*' 'kombu==5.7.*'"
    )


def test_the_supported_releases_are_those_of_the_requirements() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = dict(
        re.findall(r"^(\w+)(?:\[\w+\])?>=(\S+)$", "\n".join(project["dependencies"]), re.M)
    )

    for name, release in reliance.SUPPORTED.items():
        major, minor = release.split(".")
        assert required[name] == f"{release},<{major}.{int(minor) + 1}"


def test_each_private_name_that_the_broker_rooms_use_is_listed() -> None:
    own: set[str] = {"_exit"}  # of the standard library
    used: set[str] = set()
    inherited: set[str] = set()
    for path in BROKER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute) and _is_super(node.value):
                inherited.add(node.attr)
            elif isinstance(node, ast.Attribute):
                (own if isinstance(node.ctx, ast.Store) else used).add(node.attr)
    # What they override or set is relied on as well.
    overridden = {"_in_poll", "_brpop_sent_at", "_poll_error", "_brpop_start", "_brpop_read"}

    listed = {name.rpartition(".")[2] for _, name in reliance.RELIED_ON}
    assert _private(used - own) | _private(inherited) | overridden <= listed


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "super"


def _private(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith("_") and not name.startswith("__")}
