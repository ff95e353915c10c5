"""What a job only names is read back within limits, and never all of it before they are checked."""

import json

import pytest

from stoker_tasks.errors import InputFetchFailed, InvalidInput, TooLarge
from stoker_tasks.limits import VALUES, Limits
from stoker_tasks.wire import make_job
from stoker_workers.engine.inputs import Inputs
from tests.doubles.store import MemoryStore

LIMITS = Limits(text=1000, files=1000)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def inputs(store: MemoryStore) -> Inputs:
    return Inputs(store, limits=LIMITS)


def test_a_claim_is_put_back(store: MemoryStore, inputs: Inputs) -> None:
    kwargs = {"claim": store.put(json.dumps(["a,b", "c"]).encode()), "model": "m"}

    found = inputs.read(inputs.beside((), kwargs))
    assert inputs.claim(kwargs, found) == {"inputs": ["a,b", "c"], "model": "m"}
    with pytest.raises(InvalidInput, match="not both"):
        inputs.beside((), {**kwargs, "inputs": "a"})


@pytest.mark.parametrize(
    ("raw", "error", "said"),
    [
        (b"[" + b"[],[]," * VALUES + b"[]]", TooLarge, "values"),
        (b"[" * 100_000 + b"]" * 100_000, InvalidInput, "deeper than"),
        (b"not json", InvalidInput, "not JSON"),
    ],
)
def test_a_claim_that_would_blow_up_is_refused(
    raw: bytes, error: type[Exception], said: str, inputs: Inputs
) -> None:
    with pytest.raises(error, match=said):
        inputs.claim({"claim": "artifact:1"}, {"artifact:1": raw})


def test_artifacts_are_weighed_together(store: MemoryStore, inputs: Inputs) -> None:
    def naming(count: int) -> list[dict[str, str]]:
        return [{"uri": store.put(bytes(100))} for _ in range(count)]

    found = inputs.files(make_job("image-classification", {"inputs": naming(10)}))
    assert sum(map(len, found.values())) == 1000
    with pytest.raises(TooLarge, match="STOKER_FETCH_LIMIT"):
        inputs.files(make_job("image-classification", {"inputs": naming(11)}))


def test_one_that_is_named_twice_is_one(store: MemoryStore, inputs: Inputs) -> None:
    twice = [{"uri": store.put(b"a")}] * 2

    assert len(inputs.files(make_job("image-classification", {"inputs": twice}))) == 1
    twice[1] = {"uri": f"artifact:{'0' * 32}"}
    with pytest.raises(InputFetchFailed):
        inputs.files(make_job("image-classification", {"inputs": twice}))


def test_a_url_is_refused_where_nothing_is_fetched(inputs: Inputs) -> None:
    job = make_job("image-classification", {"inputs": {"url": "https://files.test/a.png"}})

    assert inputs.place(job) == "files.test"
    with pytest.raises(InputFetchFailed, match="fetches nothing"):
        inputs.files(job)
