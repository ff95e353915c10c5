"""What Celery's Redis backend stores of a result, written more quickly.

Celery asks its settings anew for each result, and encodes it the long way round. What is stored of
a job's success is the same JSON, with less white space in it.
"""

import json
from datetime import UTC, datetime
from typing import Any, Final

from celery.backends.redis import RedisBackend
from celery.states import SUCCESS
from pydantic_core import to_json

from stoker_workers.broker.tasks import Returned

_RESULT: Final = {"status", "result"}


class QuickBackend(RedisBackend):
    """Celery's Redis backend, with the usual case of each step first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Whether results are JSON and say nothing of their jobs, and their times are in UTC.
        self.plain = (
            self.serializer == "json"
            and not self.compression
            and not self.app.conf.result_extended
            and str(self.app.timezone) == "UTC"
        )

    def get_key_for_task(self, task_id: Any, key: Any = "") -> Any:
        """Name a result's key."""
        if not key and type(task_id) is str and task_id:
            return self.task_keyprefix + task_id.encode()
        return super().get_key_for_task(task_id, key)

    def encode(self, data: Any) -> Any:
        """Write a result; what JSON alone cannot, such as a date, is left to kombu."""
        if self.serializer == "json":
            try:
                if isinstance(data, dict) and isinstance(data.get("result"), Returned):
                    rest = {name: data[name] for name in data if name not in _RESULT}
                    return written(data["result"], to_json(rest).decode())
                return _dumps(data)
            except (TypeError, ValueError):
                pass
        return super().encode(data)

    def _get_result_meta(
        self,
        result: Any,
        state: str,
        traceback: Any,
        request: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if not self.plain or args or kwargs or state != SUCCESS or request is None:
            return super()._get_result_meta(result, state, traceback, request, *args, **kwargs)
        meta = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": self.current_task_children(request),
            "date_done": datetime.now(UTC).isoformat(),
        }
        if request.group:
            meta["group_id"] = request.group
        if request.parent_id:
            meta["parent_id"] = request.parent_id
        return meta


def _as_json(value: Any) -> Any:
    write = getattr(value, "__json__", None)
    if write is None:
        raise TypeError
    return write()


def written(returned: Returned, rest: str) -> str:
    """Write what is stored of a success, without making plain values of its result first.

    Args:
        returned: The result.
        rest: What else is stored, as JSON: an object of at least one thing.

    Raises:
        ValueError: The result is not JSON.
    """
    try:
        result = returned.to_text()
    except ValueError:
        result = _dumps(returned)  # halves of surrogate pairs
    return f'{{"status": "SUCCESS", "result": {result}, {rest[1:]}'


# Made once: `json.dumps` makes an encoder for each value.
_dumps: Final = json.JSONEncoder(default=_as_json).encode
