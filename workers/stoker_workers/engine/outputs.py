"""Where a job's output goes: into its result or, where it is large or binary, beside it."""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from stoker_config.artifacts import Artifacts
from stoker_config.retention import Retention
from stoker_tasks.result import JSON, Artifact, reference
from stoker_workers.engine.model import Output

# A store may be far away: so many artifacts are on their way to it at once.
_AT_ONCE: Final = 8
# The most that JSON takes for a number and the comma behind it, and for a character of a string.
_BYTES_A_NUMBER: Final = 27
_BYTES_A_CHARACTER: Final = 12
_NUMBERS: Final = frozenset({int, float, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Placed:
    """An output in the form in which a result has it.

    Attributes:
        value: The output, or the reference that stands for it.
        artifacts: The binary outputs.
    """

    value: Any = field(repr=False)
    artifacts: tuple[Artifact, ...] = ()


class Outputs:
    """Puts outputs where they belong.

    Args:
        store: Where artifacts are kept.
        inline_limit: Bytes of JSON above which an output leaves the result.
        retention: How long results and artifacts are kept.
    """

    def __init__(self, store: Artifacts, inline_limit: int, retention: Retention) -> None:
        self._store = store
        self._inline_limit = inline_limit
        self.retention = retention
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stoker-outputs")

    def place(self, output: Output, seconds: int) -> "Placed | Future[Placed]":
        """Put an output where it belongs.

        Args:
            output: The output.
            seconds: How long its result is kept.

        Returns:
            The output as its result has it; if some of it goes to the store, in time. Then it may
            raise `TooLarge`, if the store does not take it, and `StorageUnavailable`.
        """
        large = self._is_large(output.value)
        if not large and not output.artifacts:
            return Placed(output.value)
        return self._threads.submit(self._place, output, large, seconds)

    def _place(self, output: Output, large: bool, seconds: int) -> Placed:
        artifacts = tuple(
            Artifact(
                uri=self._store.put(
                    each.data, uri=each.uri, mime_type=each.mime_type, expires=seconds
                ),
                mime_type=each.mime_type,
                size=len(each.data),
            )
            for each in output.artifacts
        )
        if not large:
            return Placed(output.value, artifacts)
        raw = json.dumps(output.value, ensure_ascii=False).encode()
        uri = self._store.put(raw, mime_type=JSON, expires=seconds)
        return Placed(reference(uri, len(raw)), artifacts)

    def _is_large(self, value: Any) -> bool:
        # Most outputs are small by far, and need not be written twice to know it.
        limit = self._inline_limit
        return _at_most(value, limit) > limit and len(json.dumps(value)) > limit


def _at_most(value: Any, limit: float) -> int:
    """Give a number of bytes that a value's JSON does not pass, without making it.

    Args:
        value: The value. One that contains itself has no JSON, and passes any limit.
        limit: Bytes above which it is told no further: the rest of the value is not looked at.
    """
    size, parts = 0, [value]
    for part in parts:  # which grow meanwhile, by no more than is counted
        if isinstance(part, str):
            size += 4 + len(part) * _BYTES_A_CHARACTER
        elif isinstance(part, dict):
            size += 4 + 2 * len(part)
            parts.extend(part)
            parts.extend(part.values())
        elif not isinstance(part, list):
            size += _BYTES_A_NUMBER
        elif set(map(type, part)) <= _NUMBERS:
            size += 4 + len(part) * _BYTES_A_NUMBER
        else:
            size += 4 + len(part)
            parts.extend(part)
        if size > limit:
            break
    return size
