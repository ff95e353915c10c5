"""What a worker says of itself in the serving registry."""

from typing import Any

from stoker_config.serving import Serving


def serving(worker: str = "w1@test", **told: Any) -> Serving:
    """Give what a worker of the default pool says that has nothing loaded.

    Args:
        worker: Its ID.
        **told: What else it says, or says otherwise.
    """
    usual = {
        "pools": ("default",),
        "tasks": (),
        "defaults": {},
        "models": (),
        "warm": (),
        "device": "cpu",
    }
    return Serving(worker=worker, **{**usual, **told})
