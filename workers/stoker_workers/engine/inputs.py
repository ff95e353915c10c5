"""The claim check: payloads that travel beside their message, read back and stored."""

import json
from collections.abc import Mapping
from typing import Any

from stoker_config.artifacts import ArtifactStore, fetch
from stoker_tasks.errors import InputFetchFailed, InvalidInput
from stoker_tasks.job import Job
from stoker_tasks.media import media_in
from stoker_tasks.wire import CLAIM_FIELD
from stoker_workers.engine.model import ArtifactData


class Inputs:
    """Reads and writes the artifacts of jobs.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def claim(self, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put inputs back that were too large for the message.

        Args:
            kwargs: A message's keyword arguments, with `claim` (an artifact's URI) in the place
                of `inputs` if they travelled apart.

        Returns:
            The keyword arguments with `inputs`.

        Raises:
            InvalidInput: There are both, or the artifact is not JSON.
            InputFetchFailed: The artifact has expired.
        """
        if CLAIM_FIELD not in kwargs:
            return kwargs
        if "inputs" in kwargs:
            raise InvalidInput(f"give inputs or {CLAIM_FIELD}, not both")
        rest = {name: value for name, value in kwargs.items() if name != CLAIM_FIELD}
        try:
            return {**rest, "inputs": json.loads(fetch(self._store, str(kwargs[CLAIM_FIELD])))}
        except ValueError:
            raise InvalidInput(f"the artifact that {CLAIM_FIELD} names is not JSON") from None

    def media(self, job: Job) -> Mapping[str, bytes]:
        """Read the bytes of those inputs that the message only names.

        Raises:
            InputFetchFailed: One has expired, or was never stored.
        """
        uris = [each.uri for each in media_in(job.inputs) if each.uri is not None]
        if not uris:
            return {}
        found = self._store.get(uris)
        if len(found) < len(set(uris)):
            raise InputFetchFailed(
                "an input is not in the artifact store: it has expired, or was never stored "
                "there; submit the job again with its bytes",
                {"missing": len(set(uris)) - len(found)},
            )
        return found

    def keep(self, artifact: ArtifactData) -> str:
        """Store a binary output and give its name.

        Raises:
            TooLarge: The store does not take it.
        """
        return self._store.put(artifact.data, uri=artifact.uri)
