"""Reads docker-compose.yml as Compose does, and runs its services without Docker."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support import redis_server
from tests.support.worker import ROOT

_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}")
_DURATION = re.compile(r"(\d+)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Unset(Exception):
    """A variable that must be set is not."""


def load(variables: Mapping[str, str]) -> dict[str, Any]:
    """Read docker-compose.yml with its variables filled in.

    Raises:
        Unset: One that must be set is not; with the message of the file.
    """
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = _filled_in(yaml.safe_load(text), variables)
    return loaded


def seconds(duration: str) -> float:
    """Give a duration of Compose, such as `1m30s`, in seconds."""
    return sum(float(count) * _UNITS[unit] for count, unit in _DURATION.findall(duration))


class Service:
    """One service as a process of this machine.

    Args:
        definition: It, with its variables filled in.
        replaced: What stands in its command, environment and health check, by what stands there
            in Docker: hosts, ports, folders.
    """

    def __init__(self, definition: Mapping[str, Any], replaced: Mapping[str, str]) -> None:
        self._definition = definition
        self._replaced = replaced

    @property
    def environment(self) -> dict[str, str]:
        """Its environment, and what an image adds to it."""
        path = os.pathsep.join(
            [
                str(Path(sys.executable).parent),
                str(Path(redis_server.binary()).parent),
                os.environ["PATH"],
            ]
        )
        own = self._definition.get("environment", {})
        return {
            **{name: os.environ[name] for name in ("HOME", "PYTHONPATH") if name in os.environ},
            "HF_HUB_OFFLINE": "1",
            "PATH": path,
            "HOSTNAME": socket.gethostname(),
            **{name: self._replace(str(value)) for name, value in own.items()},
        }

    @property
    def command(self) -> list[str]:
        """Its command."""
        return [self._replace(part) for part in self._definition["command"]]

    @contextmanager
    def running(self, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
        """Run it until the context ends."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def is_healthy(self) -> bool:
        """Run its health check once."""
        check = self._definition["healthcheck"]
        kind, *command = map(self._replace, check["test"])
        done = subprocess.run(
            ["/bin/sh", "-c", *command] if kind == "CMD-SHELL" else command,
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            timeout=seconds(check["timeout"]) * 2,
            check=False,
        )
        return done.returncode == 0

    def _replace(self, text: str) -> str:
        for there, here in self._replaced.items():
            text = text.replace(there, here)
        return text


def _filled_in(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled_in(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each, variables) for each in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _value_of(found, variables), value)
    return value


def _value_of(found: "re.Match[str]", variables: Mapping[str, str]) -> str:
    name, kind, words = found.groups()
    if name is None:
        return "$"
    value = variables.get(name, "")
    if value or kind is None:
        return value
    if kind == "?":
        raise Unset(f"{name}: {words}")
    return str(words)
