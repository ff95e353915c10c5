"""One Redis server, one worker, one courier, S3 and Flower on this machine, started and stopped."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from stoker.local.errors import NotReady
from stoker.local.extras import require
from stoker.local.flower import Flower
from stoker.local.processes import Process
from stoker.local.redis_server import EmbeddedRedis, find_redis_server
from stoker.local.s3_server import CREDENTIALS, S3Server
from stoker.local.stop import Stop
from stoker.local.tally import Tally, count
from stoker_config.servers import connect
from stoker_config.serving import Registry, Serving
from stoker_config.settings import Settings, child_environment

# A worker that is asked to end finishes the batch that is on its device.
WORKER_GRACE: Final = 60.0
# A courier ends its attempts.
COURIER_GRACE: Final = 30.0
# Loading models from a slow disk takes this long, at most.
_READY_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a stack runs.

    Attributes:
        pool: The pool that its worker serves.
        device: `auto`, `cpu`, `cuda:N` or `mps`.
        preload: Models to load before it is ready, as `STOKER_PRELOAD` spells them.
        data: A folder in which Redis keeps queues and results between runs; nothing is kept if
            None.
        courier: Settings of the courier alone, by name.
        s3: Whether artifacts go to an S3 server, which keeps nothing between runs.
        flower: Whether to run Flower.
        flower_port: Flower's TCP port; a free one if None.
    """

    pool: str = "default"
    device: str = "auto"
    preload: str = ""
    data: Path | None = None
    courier: Mapping[str, str] = field(default_factory=dict)
    s3: bool = False
    flower: bool = True
    flower_port: int | None = None


class Stack:
    """What `stoker up` and `stoker demo` run; a context manager that stops it.

    Args:
        plan: What to run.
        cache: Where fetched packages are kept, and what the worker keeps.
        stop: The user's requests to stop: a first one to do so in order, a second one at once.

    Attributes:
        redis_url: How producers reach its Redis server.
        folder: Its private folder, with the logs.
        flower: Its Flower, if there is one.
    """

    def __init__(self, plan: Plan, cache: Path, stop: Stop) -> None:
        require(*(("worker", "monitor") if plan.flower else ("worker",)))
        self._plan = plan
        self._stop = stop
        self._redis = EmbeddedRedis(
            find_redis_server(cache, pause=stop.pause), data=plan.data, pause=stop.pause
        )
        self.redis_url = self._redis.url
        self.folder = self._redis.folder
        self.flower = (
            Flower(self.redis_url, self.folder / "flower.log", port=plan.flower_port)
            if plan.flower
            else None
        )
        self._s3 = S3Server(self.folder / "s3.log", stop.pause) if plan.s3 else None
        self._worker = Process(
            "the worker",
            [sys.executable, "-m", "stoker_workers", "worker"],
            environment=self.environment(
                cache_dir=str(cache), pool=plan.pool, device=plan.device, preload=plan.preload
            ),
            log=self.folder / "worker.log",
            grace=WORKER_GRACE,
        )
        self._courier = Process(
            "the courier",
            [sys.executable, "-m", "stoker_workers", "webhooks"],
            environment=self.environment(**plan.courier),
            log=self.folder / "courier.log",
            grace=COURIER_GRACE,
        )
        self._client = connect(self.settings())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def settings(self) -> Settings:
        """Give the settings of a producer of this stack."""
        return Settings.model_validate({"redis_url": self.redis_url, "result_url": ""})

    def environment(self, **settings: str) -> dict[str, str]:
        """Give the environment for a child process that is to find this stack.

        Args:
            **settings: Further settings, as the environment spells them.
        """
        # Its server holds the results as well, whatever this process's own environment says.
        settings = {"redis_url": self.redis_url, "result_url": "", **settings}
        if self._s3 is None:
            return child_environment(**settings)
        theirs = child_environment(**self._s3.settings, **settings)
        # A profile of the user's must not come before what this server takes.
        ours = {name: value for name, value in theirs.items() if not name.startswith("AWS_")}
        return {**ours, **CREDENTIALS}

    def wait_until_ready(self) -> Serving:
        """Wait until the worker has loaded its models and Flower answers.

        Returns:
            What the worker serves.

        Raises:
            LocalError: One of them has ended or does not become ready, or the user asked to stop.
        """
        if self.flower:
            self.flower.wait_until_ready(self._stop.pause)
        registry = Registry(self._client)
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            self.check()
            if workers := registry.workers():
                return workers[0]
            self._stop.pause(_LOOK_SECONDS)
        raise NotReady(
            f"the worker was not ready within {_READY_SECONDS:g} s; its last lines:\n"
            f"{self._worker.tail()}"
        )

    def check(self) -> None:
        """Make sure that all of it still runs.

        Raises:
            ProcessDied: Something has ended; the message has the last lines of its log.
        """
        self._worker.check()
        self._courier.check()
        if self._s3:
            self._s3.process.check()
        self._redis.check()
        if self.flower:
            self.flower.process.check()

    def watch(self) -> None:
        """Look after it until the user asks to stop.

        Raises:
            ProcessDied: Something has ended.
            Interrupted: The user asked to stop.
        """
        while True:
            self.check()
            self._stop.pause(_LOOK_SECONDS)

    def stop_serving(self) -> Tally:
        """End the worker, the courier and Flower, in this order.

        The worker finishes the batch that it runs and gives the other jobs back to the queue.

        Returns:
            Where the jobs stand now.
        """
        self._worker.stop(self._stop.urgent)
        self._courier.stop(self._stop.urgent)
        if self.flower:
            self.flower.process.stop(self._stop.urgent)
        return count(self._client, self._plan.pool)

    def stop(self) -> None:
        """End what still runs, Redis last, and remove its folder."""
        self._worker.stop(self._stop.urgent)
        self._courier.stop(self._stop.urgent)
        if self.flower:
            self.flower.process.stop(self._stop.urgent)
        if self._s3:
            self._s3.process.stop(self._stop.urgent)
        self._client.close()
        self._redis.stop()
