"""For how long threads have been inside a model's code, which may hang and cannot be stopped."""

import threading
import time
from types import TracebackType


class Inside:
    """A context that lasts while a thread is inside a model's code. Safe for threads."""

    def __init__(self) -> None:
        self._began: dict[int, float] = {}

    @property
    def since(self) -> float | None:
        """When the thread went in that has been inside for longest, in monotonic seconds."""
        return min(tuple(self._began.values()), default=None)

    def __enter__(self) -> None:
        self._began[threading.get_ident()] = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del self._began[threading.get_ident()]
