import io
from typing import Any

import numpy as np
import pytest

from stoker_tasks.wire import make_job
from stoker_workers.engine.model import ModelKey, Output
from stoker_workers.models.adapters.base import Adapter
from stoker_workers.models.catalog import load
from stoker_workers.models.device import find_device
from tests.parity.batched import differences, jobs_of, pipeline_alone, run_batched
from tests.tiny.fixture import TinyModel

TEXTS = ["the food was terrible", "bob moved to berlin with his brother charles in the summer"]


@pytest.fixture
def encoder(tiny: TinyModel) -> Adapter:
    return load(ModelKey("feature-extraction", tiny("bert_encoder")), find_device("cpu"))


@pytest.fixture
def vectors(tiny: TinyModel) -> list[Any]:
    """The pipeline's vectors of each token of `TEXTS`."""
    alone = pipeline_alone("feature-extraction", tiny("bert_encoder"))
    return [np.array(alone(text))[0] for text in TEXTS]


def embed(encoder: Adapter, *calls: tuple[Any, dict[str, Any]]) -> list[Output]:
    outputs, forwards = run_batched(encoder, jobs_of("feature-extraction", calls))
    assert forwards == 1
    return outputs


def test_pooling_leaves_the_padding_out(encoder: Adapter, vectors: list[Any]) -> None:
    mean, first, none, normal = embed(
        encoder,
        (TEXTS, {"pooling": "mean"}),
        (TEXTS[0], {"pooling": "cls"}),
        (TEXTS[1], {"pooling": "none"}),
        (TEXTS[0], {"pooling": "mean", "normalize": True, "truncation": True}),
    )
    assert not differences(mean.value, [each.mean(axis=0) for each in vectors])
    assert not differences(first.value, vectors[0][0])
    assert not differences(none.value, vectors[1][None])
    pooled = vectors[0].mean(axis=0)
    assert not differences(normal.value, pooled / np.linalg.norm(pooled))


def test_normalising_each_token(encoder: Adapter, vectors: list[Any]) -> None:
    (output,) = embed(encoder, (TEXTS[0], {"normalize": True}))
    lengths = np.linalg.norm(vectors[0], axis=1, keepdims=True)
    assert not differences(output.value, (vectors[0] / lengths)[None])


def test_many_vectors_become_one_array(encoder: Adapter, vectors: list[Any]) -> None:
    many = TEXTS * 150
    (output,) = embed(encoder, (many, {"pooling": "mean"}))
    (artifact,) = output.artifacts
    assert output.value["shape"] == [300, 32]
    assert output.value["artifact"] == artifact.uri
    array = np.load(io.BytesIO(artifact.data), allow_pickle=False)
    assert not differences(array[1], vectors[1].mean(axis=0))


def test_the_masks_scores_alone_leave_the_device(tiny: TinyModel) -> None:
    model = load(ModelKey("fill-mask", tiny("bert_filler")), find_device("cpu"))
    job = make_job("fill-mask", {"inputs": "the [MASK] was [MASK] today , bob ."})
    (output,) = model.forward(model.preprocess(job, {}).chunks)
    assert output["logits"][0, "any", :].shape[0] == 2
