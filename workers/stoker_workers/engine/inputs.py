"""What jobs only name, read: payloads that travelled beside their message, and files by URL."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from stoker_config.artifacts import Artifacts, fetch
from stoker_tasks.errors import InputFetchFailed, InvalidInput, TooLarge
from stoker_tasks.job import Job
from stoker_tasks.limits import DEPTH, VALUES, Limits, check
from stoker_tasks.media import media_in
from stoker_tasks.result import referenced
from stoker_tasks.wire import CLAIM_FIELD

# Fetches one job's files by their URLs.
Fetch = Callable[[Sequence[str]], Mapping[str, bytes]]
# The place of what is in the artifact store: no host's name.
STORE: Final = ""
# The most that JSON takes for a number and what stands around it, and for a character of a text.
_BYTES_A_VALUE: Final = 32
_BYTES_A_CHARACTER: Final = 12


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
        self, store: Artifacts, fetch: Fetch = nowhere, limits: Limits | None = None
    ) -> None:
        self._store = store
        self._limits = limits or Limits()
        self._fetch = fetch

    def beside(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
        """Name the artifacts without which a message cannot be read.

        Args:
            args: Its positional arguments: results that a chain or a chord hands over, or else.
            kwargs: Its keyword arguments, with `claim` in the place of `inputs` if these were too
                large for the message.

        Raises:
            InvalidInput: There are both.
        """
        if CLAIM_FIELD not in kwargs and not args:
            return []
        if CLAIM_FIELD in kwargs and "inputs" in kwargs:
            raise InvalidInput(f"give inputs or {CLAIM_FIELD}, not both")
        claimed = [str(kwargs[CLAIM_FIELD])] if CLAIM_FIELD in kwargs else []
        return list(dict.fromkeys([*claimed, *_handed_over(args)]))

    def read(self, uris: Sequence[str]) -> Mapping[str, bytes]:
        """Read what is `beside` a message; slow where the store is far away.

        Raises:
            InputFetchFailed: One has expired, or was never stored.
            TooLarge: They are too large together.
            StorageUnavailable: The store does not answer.
        """
        limits = self._limits
        # Small files stand in it as base64.
        most = VALUES * _BYTES_A_VALUE + limits.text * _BYTES_A_CHARACTER + 2 * limits.files
        return fetch(self._store, uris, most)

    def claim(self, kwargs: Mapping[str, Any], found: Mapping[str, bytes]) -> Mapping[str, Any]:
        """Put inputs back that were too large for the message.

        Args:
            kwargs: A message's keyword arguments.
            found: What `read` has read of what is `beside` them.

        Returns:
            The keyword arguments with `inputs`.

        Raises:
            InvalidInput: The artifact is not JSON, or nests too deep.
            TooLarge: It has too many values.
        """
        if CLAIM_FIELD not in kwargs:
            return kwargs
        rest = {name: value for name, value in kwargs.items() if name != CLAIM_FIELD}
        raw = found[str(kwargs[CLAIM_FIELD])]
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

    def whole(self, given: Any, found: Mapping[str, bytes]) -> Any:
        """Put large outputs back into the results that a chain or a chord hands over.

        Args:
            given: A positional argument: a result as it is stored, a list of such, or else.
            found: What `read` has read of what is `beside` it.
        """
        if isinstance(given, list):
            return [self.whole(each, found) for each in given]
        uri = _output_beside(given)
        return given if uri is None else {**given, "output": json.loads(found[uri])}

    def place(self, job: Job) -> str | None:
        """Say where a job's files are: a host, or `STORE`; None if all came with the message."""
        files = media_in(job.inputs)
        urls = [each.url for each in files if each.url is not None]
        if urls:
            return urlsplit(urls[0]).netloc.lower()
        return STORE if any(each.uri is not None for each in files) else None

    def files(self, job: Job) -> Mapping[str, bytes]:
        """Read those inputs that the job only names; slow where they are far away.

        Returns:
            Their bytes, by the artifact's name or the URL.

        Raises:
            InputFetchFailed: One could not be had.
            TooLarge: They are too large together.
            StorageUnavailable: The store, or S3, does not answer.
        """
        files = media_in(job.inputs)
        uris = list(dict.fromkeys(each.uri for each in files if each.uri is not None))
        urls = [each.url for each in files if each.url is not None]
        found = fetch(self._store, uris, self._limits.files) if uris else {}
        return {**found, **(self._fetch(urls) if urls else {})}


def _handed_over(given: Any) -> Iterator[str]:
    """Name the outputs that are kept beside the results among positional arguments."""
    if isinstance(given, list | tuple):
        for each in given:
            yield from _handed_over(each)
    elif (uri := _output_beside(given)) is not None:
        yield uri


def _output_beside(given: Any) -> str | None:
    return referenced(given.get("output")) if isinstance(given, dict) else None
