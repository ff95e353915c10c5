"""What a job only names is read back within limits, and never all of it before they are checked."""

import json
from collections.abc import Sequence

import pytest

from stoker_tasks.errors import InputFetchFailed, InvalidInput, TooLarge
from stoker_tasks.limits import VALUES, Limits
from stoker_tasks.wire import make_job
from stoker_workers.engine.inputs import Inputs
from tests.doubles.store import MemoryStore

LIMITS = Limits(text=1000, files=1000)


class Counting(MemoryStore):
    """A store that knows how much was read of it."""

    read = 0

    def get(self, uris: Sequence[str]) -> dict[str, bytes]:
        found = dict(super().get(uris))
        self.read += sum(map(len, found.values()))
        return found


@pytest.fixture
def store() -> Counting:
    return Counting()


@pytest.fixture
def inputs(store: Counting) -> Inputs:
    return Inputs(store, limits=LIMITS)


def test_a_claim_is_put_back(store: Counting, inputs: Inputs) -> None:
    uri = store.put(json.dumps(["a,b", "c"]).encode())

    assert inputs.claim({"claim": uri, "model": "m"}) == {"inputs": ["a,b", "c"], "model": "m"}


@pytest.mark.parametrize(
    ("raw", "error", "said"),
    [
        (b"[" + b"[],[]," * VALUES + b"[]]", TooLarge, "values"),
        (b"[" * 100_000 + b"]" * 100_000, InvalidInput, "deeper than"),
        (b"not json", InvalidInput, "not JSON"),
    ],
)
def test_a_claim_that_would_blow_up_is_refused(
    raw: bytes, error: type[Exception], said: str, store: Counting, inputs: Inputs
) -> None:
    with pytest.raises(error, match=said):
        inputs.claim({"claim": store.put(raw)})


def test_artifacts_are_weighed_together(store: Counting, inputs: Inputs) -> None:
    def naming(count: int) -> list[dict[str, str]]:
        return [{"uri": store.put(bytes(100))} for _ in range(count)]

    found = inputs.media(make_job("image-classification", {"inputs": naming(10)}))
    assert sum(map(len, found.values())) == 1000
    store.read = 0
    with pytest.raises(TooLarge, match="STOKER_FETCH_LIMIT"):
        inputs.media(make_job("image-classification", {"inputs": naming(100)}))
    # Not all of them were read first.
    assert store.read <= 1500


def test_one_that_is_named_twice_is_one(store: Counting, inputs: Inputs) -> None:
    twice = [{"uri": store.put(b"a")}] * 2

    assert len(inputs.media(make_job("image-classification", {"inputs": twice}))) == 1
    twice[1] = {"uri": f"artifact:{'0' * 32}"}
    with pytest.raises(InputFetchFailed):
        inputs.media(make_job("image-classification", {"inputs": twice}))


def test_a_url_is_refused_where_nothing_is_fetched(inputs: Inputs) -> None:
    job = make_job("image-classification", {"inputs": {"url": "https://files.test/a.png"}})

    fetching = inputs.fetch(job)

    assert fetching is not None
    with pytest.raises(InputFetchFailed, match="fetches nothing"):
        fetching.result(20)
    inputs.release()
    inputs.stop()
