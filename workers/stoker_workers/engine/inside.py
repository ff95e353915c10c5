"""For how long a thread has been inside a model's code, which may hang and cannot be stopped."""

import time
from types import TracebackType


class Inside:
    """A context that lasts while one thread is inside a model's code.

    Attributes:
        since: When it began, in monotonic seconds; None if the thread is not inside.
    """

    def __init__(self) -> None:
        self.since: float | None = None

    def __enter__(self) -> None:
        self.since = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.since = None
