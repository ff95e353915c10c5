"""Where outputs go: what counts as large, what is in the store, and what happens without one."""

import json
from concurrent.futures import Future
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_config.artifacts import new_uri
from stoker_config.artifacts_s3 import S3Artifacts
from stoker_config.retention import Retention
from stoker_config.settings import Settings
from stoker_tasks.errors import StorageUnavailable
from stoker_tasks.result import Artifact, reference, referenced
from stoker_workers.engine.inputs import Inputs
from stoker_workers.engine.model import ArtifactData, Output
from stoker_workers.engine.outputs import Outputs, Placed, _at_most
from tests.doubles.store import MemoryStore
from tests.support.s3 import S3

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def outputs(store: Any, limit: int = 100) -> Outputs:
    return Outputs(store, limit, Retention(usual=60, longest=600))


def done(placed: "Placed | Future[Placed]") -> Placed:
    return placed.result(60) if isinstance(placed, Future) else placed


@given(VALUES)
def test_the_guess_at_an_output_s_size_is_never_too_low(value: Any) -> None:
    assert _at_most(value, inf) >= len(json.dumps(value))


@pytest.mark.parametrize("width", [1, 100_000])
def test_an_output_that_contains_itself_is_refused(width: int) -> None:
    value: list[Any] = []
    value += [value] * width

    with pytest.raises(ValueError, match="Circular"):
        outputs(MemoryStore(), 10**6).place(Output(value), 7)


@pytest.mark.parametrize(("length", "beside"), [(98, False), (99, True)])
def test_what_is_over_the_limit_leaves_the_result(length: int, beside: bool) -> None:
    store = MemoryStore()

    placed = done(outputs(store).place(Output("x" * length), 7))

    uri = referenced(placed.value)
    assert (uri is not None) is beside
    assert len(store.kept) == beside
    if uri is not None:
        assert json.loads(store.kept[uri]) == "x" * length
        assert store.expires == {uri: 7}
        given, inputs = [{"output": placed.value}], Inputs(store)
        found = inputs.read(inputs.beside([given], {}))
        assert inputs.whole(given, found) == [{"output": "x" * length}]


def test_a_caller_s_own_reference_stays_as_it_is() -> None:
    value = {"artifact": new_uri(), "mime_type": "application/x-npy", "shape": [1], "size": 3}

    assert referenced(value) is None
    assert referenced([reference(new_uri(), 3)]) is None
    assert Inputs(MemoryStore()).beside([{"output": value}], {}) == []


def test_artifacts_are_kept_under_the_names_that_the_output_has_for_them() -> None:
    store = MemoryStore()
    pictures = [ArtifactData(new_uri(), "image/png", bytes([n])) for n in range(20)]

    placed = done(outputs(store).place(Output([each.uri for each in pictures], pictures), 9))

    assert placed.artifacts == tuple(
        Artifact(uri=p.uri, mime_type="image/png", size=1) for p in pictures
    )
    assert {uri: store.kept[uri] for uri in (p.uri for p in pictures)} == {
        p.uri: p.data for p in pictures
    }


def test_without_its_store_an_output_may_be_tried_again(s3: S3) -> None:
    absent = S3Artifacts(Settings.model_validate(s3.settings(s3_endpoint="http://127.0.0.1:9")))
    both = outputs(absent)

    large, small = both.place(Output("x" * 200), 9), both.place(Output("x"), 9)

    assert done(small).value == "x"
    with pytest.raises(StorageUnavailable) as failed:
        done(large)
    assert failed.value.retryable
