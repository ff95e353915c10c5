"""Apps that serve the same tasks: Stoker's, in one lane or the other, and a plain Celery app."""

import json
from typing import Any, Final

import redis
from celery import Celery, signals

from stoker_config.app import make_app
from stoker_config.settings import Settings
from stoker_tasks.errors import InvalidInput, StokerError
from stoker_workers.app import make_worker_app
from stoker_workers.broker import fast_lane
from tests.doubles.engine import serving
from tests.doubles.model import SHAPES, FakeModel
from tests.doubles.stock import CLASSIFY, GENERATE

# What somebody may listen to while the fast lane is open, and what closes it.
OPEN: Final = ("task_failure", "task_internal_error", "task_rejected", "task_retry", "task_revoked")
CLOSING: Final = ("task_prerun", "task_postrun", "task_success")
# Where what was heard of signals stands, and how many jobs went through the fast lane.
HEARD: Final = "heard"
QUICK: Final = "quick"


def make_lane(lane: str, url: str) -> Celery:
    """Make the app of one lane's worker; what its signals tell is noted on the server.

    Args:
        lane: `fast`; `heard`, whose fast lane is closed by those who listen; `traced`; or `plain`.
        url: The server.
    """
    settings = Settings.model_validate({"redis_url": url, "fast_lane": lane in ("fast", "heard")})
    server = redis.Redis.from_url(url)
    _listen(server, OPEN if lane == "fast" else OPEN + CLOSING)
    if lane == "plain":
        return make_plain_app(settings)
    _count_quick(server)
    return make_worker_app(settings, serving(FakeModel()))


def make_plain_app(settings: Settings) -> Celery:
    """Make a Celery app whose tasks give what `FakeModel` gives, and nothing else of Stoker's."""
    app = make_app(
        settings,
        worker_pool="threads",
        worker_concurrency=1,
        worker_send_task_events=True,
    )
    for name, task in ((CLASSIFY, "text-classification"), (GENERATE, "text-generation")):

        def run(self: Any, given: Any = None, task: str = task, **fields: Any) -> dict[str, Any]:
            texts = _texts(fields.get("inputs", given))
            if any("bad" in text.split() for text in texts):
                raise InvalidInput("the word bad is not taken")
            shape = SHAPES.get(task, _label)
            shaped = [shape(text) for text in texts]
            return {"output": [[each] for each in shaped] if isinstance(given, list) else shaped}

        app.task(run, name=name, bind=True, acks_late=True, throws=(StokerError,))
    return app


def _label(text: str) -> dict[str, Any]:
    return {"label": text, "score": 1.0}


def _texts(given: Any) -> list[str]:
    """Read inputs as Stoker's tasks do: a text, the result before it, or those of a chord."""
    if isinstance(given, list):
        return [text for each in given for text in _texts(each)]
    return [given["output"][0]["generated_text"] if isinstance(given, dict) else given]


def _listen(server: Any, names: tuple[str, ...]) -> None:
    for name in names:

        def hear(sender: Any = None, name: str = name, **told: Any) -> None:
            server.rpush(HEARD, json.dumps(_heard(name, sender, told)))

        getattr(signals, name).connect(hear, weak=False)


def _heard(name: str, sender: Any, told: dict[str, Any]) -> dict[str, Any]:
    request = told.get("request") or getattr(sender, "request", None)
    known = ("args", "kwargs", "state", "terminated", "result", "retval", "exception")
    values = {key: _shown(told[key]) for key in known if key in told}
    about = ("id", "root_id", "parent_id", "retries", "correlation_id", "ignore_result", "group")
    return {
        "signal": name,
        "sender": getattr(sender, "name", sender),
        "task_id": told.get("task_id"),
        "task": getattr(told.get("task"), "name", None),
        "request": {each: getattr(request, each, None) for each in about},
        "headers": getattr(request, "headers", None) or None,
        "priority": (getattr(request, "delivery_info", None) or {}).get("priority"),
        **values,
    }


def _shown(value: Any) -> Any:
    """Give what both workers say of a value: of a result its output."""
    value = value.__json__() if hasattr(value, "__json__") else value
    if isinstance(value, dict):
        return value.get("output", value)
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    return value if isinstance(value, str) else repr(value)


def _count_quick(server: Any) -> None:
    complete = fast_lane.complete

    def counted(*args: Any) -> Any:
        server.incr(QUICK)
        return complete(*args)

    setattr(fast_lane, "complete", counted)  # noqa: B010 - a function is no variable
