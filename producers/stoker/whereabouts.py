"""Refuses jobs and waits whose results no worker stores where this producer looks for them."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from stoker_tasks.errors import ResultsElsewhere

if TYPE_CHECKING:
    from stoker_config.serving import Serving

# For so long nobody looks again, until some worker has told where results go.
_SECONDS: Final = 2.0


class Whereabouts:
    """What a client knows of where results go. One caller at a time looks, and learns.

    Args:
        apart: Whether the client looks for them on a server of their own.
    """

    def __init__(self, apart: bool) -> None:
        self._apart = apart
        self._looked = -_SECONDS
        self._found = False
        self._error: ResultsElsewhere | None = None

    def must_look(self) -> bool:
        """Tell whether the registry is to be read before a result is waited for."""
        return not self._found and time.monotonic() - self._looked > _SECONDS

    def learn(self, workers: "Iterable[Serving]") -> None:
        """Take in what the registry says: it is well if one worker stores results here.

        Args:
            workers: The living workers.
        """
        told = [each for each in workers if each.results_apart is not None]
        self._looked = time.monotonic()
        self._found = any(each.results_apart == self._apart for each in told)
        self._error = self._refusal(told[0]) if told and not self._found else None

    def check(self) -> None:
        """Refuse to wait in vain.

        Raises:
            ResultsElsewhere: All workers store results elsewhere, as far as they are known to.
        """
        if self._error is not None:
            raise self._error

    def check_all(self, workers: "Iterable[Serving]") -> None:
        """Refuse jobs that one of these workers might take, and store its result elsewhere.

        Args:
            workers: The living workers of the jobs' pool.

        Raises:
            ResultsElsewhere: One of them stores results elsewhere.
        """
        for each in workers:
            if each.results_apart is not None and each.results_apart != self._apart:
                raise self._refusal(each)

    def _refusal(self, worker: "Serving") -> ResultsElsewhere:
        if self._apart:
            return ResultsElsewhere(
                f"the worker {worker.worker} stores results where it takes jobs from, and this "
                "producer looks for them on the server of STOKER_RESULT_URL (result_url): leave "
                "that out here, or give it to the workers as well",
                {"setting": "STOKER_RESULT_URL", "worker": worker.worker},
            )
        return ResultsElsewhere(
            f"the worker {worker.worker} stores results on a server of their own, where this "
            "producer does not look for them: give it the workers' STOKER_RESULT_URL (result_url)",
            {"setting": "STOKER_RESULT_URL", "worker": worker.worker},
        )
