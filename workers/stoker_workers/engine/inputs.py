"""The claim check: payloads that travelled beside their message, read back; and files by URL."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from stoker_config.artifacts import ArtifactStore, fetch
from stoker_tasks.errors import InputFetchFailed, InvalidInput, TooLarge
from stoker_tasks.job import Job
from stoker_tasks.limits import DEPTH, VALUES, Limits, check
from stoker_tasks.media import media_in
from stoker_tasks.result import referenced
from stoker_tasks.wire import CLAIM_FIELD
from stoker_workers.engine.fetching import Fetch, Fetching

_AT_ONCE: Final = 4


def nowhere(urls: Sequence[str]) -> Mapping[str, bytes]:
    """Fetch nothing.

    Raises:
        InputFetchFailed: Always.
    """
    raise InputFetchFailed("this worker fetches nothing: send the bytes with the job")


class Inputs:
    """Reads what jobs only name.

    Args:
        store: Where artifacts are kept.
        fetch: Fetches the files that a job names by URL; all are refused if it is absent.
        limits: How large a job may be.
    """

    def __init__(
        self, store: ArtifactStore, fetch: Fetch = nowhere, limits: Limits | None = None
    ) -> None:
        self._store = store
        self._limits = limits or Limits()
        self._fetching = Fetching(fetch)

    def claim(self, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put inputs back that were too large for the message.

        Args:
            kwargs: A message's keyword arguments, with `claim` (an artifact's URI) in the place
                of `inputs` if they travelled apart.

        Returns:
            The keyword arguments with `inputs`.

        Raises:
            InvalidInput: There are both, or the artifact is not JSON, or nests too deep.
            InputFetchFailed: The artifact has expired.
            TooLarge: It has too many values.
        """
        if CLAIM_FIELD not in kwargs:
            return kwargs
        if "inputs" in kwargs:
            raise InvalidInput(f"give inputs or {CLAIM_FIELD}, not both")
        rest = {name: value for name, value in kwargs.items() if name != CLAIM_FIELD}
        raw = fetch(self._store, str(kwargs[CLAIM_FIELD]))
        # In memory, a value of two bytes takes fifty. Texts may have commas as well, and yet no
        # job has texts of so many characters.
        if sum(map(raw.count, (b",", b"[", b"{"))) > VALUES + self._limits.text:
            raise TooLarge(
                f"the inputs have more than {VALUES} values: send several jobs", {"limit": VALUES}
            )
        try:
            return {**rest, "inputs": json.loads(raw)}
        except ValueError:
            raise InvalidInput(f"the artifact that {CLAIM_FIELD} names is not JSON") from None
        except RecursionError:
            raise InvalidInput(
                f"the inputs nest deeper than {DEPTH} levels: no task takes that", {"limit": DEPTH}
            ) from None

    def check(self, job: Job) -> None:
        """Refuse a job that is larger than this deployment takes.

        Raises:
            TooLarge: It is.
            InvalidInput: It nests too deep.
        """
        check(job, self._limits)

    def whole(self, given: Any) -> Any:
        """Put large outputs back into the results that a chain or a chord hands over.

        Args:
            given: A positional argument: a result as it is stored, a list of such, or else.

        Raises:
            InputFetchFailed: An output has expired.
        """
        if isinstance(given, list):
            return [self.whole(each) for each in given]
        uri = referenced(given.get("output")) if isinstance(given, dict) else None
        return given if uri is None else {**given, "output": json.loads(fetch(self._store, uri))}

    def media(self, job: Job) -> Mapping[str, bytes]:
        """Read the bytes of those inputs that the message only names, by the names of artifacts.

        Raises:
            InputFetchFailed: One has expired, or was never stored.
            TooLarge: They are too large together.
        """
        uris = list({each.uri: None for each in media_in(job.inputs) if each.uri is not None})
        found: dict[str, bytes] = {}
        # Some at a time, so that no more are in memory than may be.
        for at in range(0, len(uris), _AT_ONCE):
            found |= self._store.get(uris[at : at + _AT_ONCE])
            if sum(map(len, found.values())) > self._limits.files:
                raise TooLarge(
                    f"the artifacts that the job names are more than {self._limits.files} bytes "
                    "together (STOKER_FETCH_LIMIT): send smaller files, or fewer in one job",
                    {"limit": self._limits.files},
                )
        if len(found) < len(uris):
            raise InputFetchFailed(
                "an input is not in the artifact store: it has expired, or was never stored "
                "there; submit the job again with its bytes",
                {"missing": len(uris) - len(found)},
            )
        return found

    def fetch(self, job: Job) -> "Future[Mapping[str, bytes]] | None":
        """Fetch those inputs that have URLs. Never blocks.

        Returns:
            Their bytes by URL, in time; `release` has to be called once they are read. None if the
            job names no URLs.
        """
        urls = [each.url for each in media_in(job.inputs) if each.url is not None]
        return self._fetching.get(urls) if urls else None

    def release(self) -> None:
        """Let others be fetched: a job for which something was needs it no longer."""
        self._fetching.release()

    def stop(self) -> None:
        """Begin to fetch nothing more."""
        self._fetching.stop()
