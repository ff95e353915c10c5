"""Answers a job out of the result of an equal one, for jobs that ask for that."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stoker_config.artifacts import Artifacts, fetch, new_uri
from stoker_config.cache import ResultCache
from stoker_tasks.errors import InvalidInput, StokerError
from stoker_tasks.job import Job
from stoker_tasks.media import Media, with_media
from stoker_tasks.result import Success, referenced
from stoker_tasks.wire import to_kwargs
from stoker_workers.engine.model import ArtifactData, ModelKey, Output

# Fields that do not touch the output. One that this list does not know makes jobs unequal, which
# costs a forward pass and no wrong answer.
_ASIDE: Final = frozenset(
    {"inputs", "metadata", "retention", "cache", "model", "revision", "components"}
    | {"queue_timeout", "run_timeout", "deadline", "webhook", "idempotency_key", "tenant"}
)


class CachedAnswers:
    """The answers of earlier jobs.

    Args:
        results: Finds their results.
        store: Where their artifacts are.
        makers: What else makes an answer: versions of libraries, the device and its number format,
            how models are loaded.
    """

    def __init__(self, results: ResultCache, store: Artifacts, makers: str = "") -> None:
        self._results = results
        self._store = store
        self._makers = makers

    def digest(self, job: Job, key: ModelKey, model: str, media: Mapping[str, bytes]) -> str:
        """Give what two jobs have in common that have the same answer, and no others.

        Args:
            job: The job.
            key: What its model is loaded by.
            model: The loaded model's name and commit.
            media: The bytes of those inputs that travelled beside the message, by URI.
        """

        def by_content(each: Media) -> Media:
            named = each.uri or each.url
            try:
                data = media[named] if named is not None else each.inline_bytes() or b""
            except ValueError as error:
                raise InvalidInput(f"{job.task}: inputs: {error}") from None
            return Media(uri=hashlib.sha256(data).hexdigest())

        inputs = job.model_copy(update={"inputs": with_media(job.inputs, by_content)})
        fields = {name: value for name, value in to_kwargs(job).items() if name not in _ASIDE}
        asked = {
            "task": job.task,
            "model": [model, key.listed, _files(key.model)],
            "components": [[*each, _files(each[1])] for each in key.components],
            "makers": self._makers,
            "inputs": inputs.model_dump(mode="json", include={"inputs"})["inputs"],
            "fields": fields,
        }
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def find(self, digest: str) -> Output | None:
        """Give the answer of an earlier job, with copies of its artifacts under new names.

        Each job's data can then expire, and be deleted, without the other's.
        """
        stored = self._results.find(digest)
        if stored is None:
            return None
        try:
            return self._copied(Success.model_validate(stored))
        except StokerError:
            # What has gone already, or cannot be read now, is made anew.
            return None

    def note(self, digest: str, job_id: str) -> None:
        """Remember that a job's result answers this."""
        self._results.note(digest, job_id)

    def _copied(self, earlier: Success) -> Output:
        uri = referenced(earlier.output)
        names = {each.uri: new_uri() for each in earlier.artifacts}
        kept = fetch(self._store, [*names, *([uri] if uri else ())])
        text = kept[uri].decode() if uri else json.dumps(earlier.output)
        if not earlier.artifacts:
            return Output(json.loads(text))
        copies = tuple(
            ArtifactData(names[each.uri], each.mime_type, kept[each.uri])
            for each in earlier.artifacts
        )
        # A name is 128 random bits: no other text is meant by it.
        some = re.compile("|".join(map(re.escape, names)))
        value: Any = json.loads(some.sub(lambda found: names[found[0]], text))
        return Output(value, copies)


def _files(model: str) -> list[list[Any]]:
    """List a local model's files: nothing else says by its name what is in them."""
    root = Path(model)
    files = sorted(path for path in (root, *root.rglob("*")) if path.is_file())
    stats = [(path, path.stat()) for path in files]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
