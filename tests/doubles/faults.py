"""Processes that are killed at one point of their way: workers and couriers.

A worker: `celery -A tests.doubles.faults:after_store worker`. A courier: `python -m
tests.doubles.faults before_post`. The product's own code knows nothing of these points.
"""

import inspect
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from stoker_config.settings import load_settings
from stoker_workers.webhooks.courier import run
from stoker_workers.webhooks.due import DueEvents
from stoker_workers.webhooks.post import Post


@dataclass(frozen=True)
class Point:
    """A point of the way, beside a call of one method.

    Attributes:
        owner: Gives the class.
        method: The method's name.
        before: Whether the process dies instead of the call, or right after it.
    """

    owner: Callable[[], type]
    method: str
    before: bool = False

    def arm(self) -> None:
        """Have this process die at this point."""
        owner = self.owner()
        call = getattr(owner, self.method)

        def dying(*args: Any, **kwargs: Any) -> None:
            if not self.before:
                call(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        async def dying_in_a_loop(*args: Any, **kwargs: Any) -> None:
            if not self.before:
                await call(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        # The courier's are coroutines.
        dies = dying_in_a_loop if inspect.iscoroutinefunction(call) else dying
        setattr(owner, self.method, dies)


def _outlet() -> type:
    from stoker_workers.broker.outlet import CeleryOutlet

    return CeleryOutlet


def _backend() -> type:
    from stoker_workers.broker.apart import ApartBackend
    from stoker_workers.broker.backend import CollectingBackend

    return ApartBackend if load_settings().apart else CollectingBackend


WORKER: Final = {
    # It is marked as running, and its start is told.
    "before_forward": Point(_outlet, "started", before=True),
    "before_store": Point(_backend, "_store_all", before=True),
    # Stored on a server of its own, and not told yet on the broker's.
    "before_tell": Point(_backend, "_tell", before=True),
    # Stored and told; on Stoker's transport acknowledged as well, on kombu's own not yet.
    "after_store": Point(_backend, "_store_all"),
    # Told, for a job whose result nobody wants, and neither forgotten nor acknowledged.
    "after_tell": Point(_outlet, "_tell_all"),
    # Forgotten, and not acknowledged.
    "before_acknowledge": Point(_outlet, "_forget"),
}
COURIER: Final = {
    # It has the event's lease, and has not posted it.
    "before_post": Point(lambda: Post, "__call__", before=True),
    # Posted, and not noted.
    "after_post": Point(lambda: Post, "__call__"),
    # Noted, and nothing else.
    "after_note": Point(lambda: DueEvents, "note"),
}


def __getattr__(name: str) -> Any:
    if name not in WORKER:
        raise AttributeError(name)
    from stoker_workers.app import make_worker_app
    from tests.doubles.engine import serving
    from tests.doubles.model import FakeModel

    WORKER[name].arm()
    return make_worker_app(load_settings(), serving(FakeModel()))


if __name__ == "__main__":
    COURIER[sys.argv[1]].arm()
    sys.exit(run(load_settings()))
