import io
import json
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from stoker_workers.models.outputs import MAX_INLINE_NUMBERS, Sound, export


def test_plain_values_stay() -> None:
    value = {"a": [1, 2.5, True, None, "x"], "b": {"c": []}}
    output = export(value)
    assert output.value == value
    assert output.artifacts == ()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (torch.tensor(2), 2),
        (torch.tensor([1.5], dtype=torch.bfloat16), [1.5]),
        (torch.tensor([1.5], dtype=torch.float64), [1.5]),
        (np.array([[1, 2]]), [[1, 2]]),
        ((1.0, (2.0, None)), [1.0, [2.0, None]]),
        (float("nan"), None),
        (np.float32("inf"), None),
        ([1.0, float("-inf")], [1.0, None]),
        (np.array([1.0, np.nan]), [1.0, None]),
        ({1: np.array([True])}, {"1": [True]}),
    ],
)
def test_anything_becomes_json(value: Any, wanted: Any) -> None:
    output = export(value).value
    assert output == wanted
    assert json.loads(json.dumps(output, allow_nan=False)) == wanted


def test_what_has_no_form_in_json() -> None:
    with pytest.raises(TypeError, match="object"):
        export({"a": object()})


def test_a_large_array_becomes_an_artifact() -> None:
    array = torch.rand(3, MAX_INLINE_NUMBERS // 2)
    output = export({"vectors": array})
    (artifact,) = output.artifacts
    assert output.value["vectors"] == {
        "artifact": artifact.uri,
        "mime_type": "application/x-npy",
        "shape": [3, MAX_INLINE_NUMBERS // 2],
        "dtype": "float32",
    }
    assert artifact.uri.startswith("artifact:")
    assert artifact.mime_type == "application/x-npy"
    assert np.array_equal(np.load(io.BytesIO(artifact.data), allow_pickle=False), array.numpy())


def test_the_border_between_inline_and_artifact() -> None:
    assert not export(np.zeros(MAX_INLINE_NUMBERS)).artifacts
    assert len(export([np.zeros(MAX_INLINE_NUMBERS + 1)] * 2).artifacts) == 2
    # Not floats: token IDs, masks.
    assert not export(np.zeros(MAX_INLINE_NUMBERS + 1, np.int64)).artifacts


def test_a_sound_becomes_a_wav_file() -> None:
    samples = np.array([[0.0, 0.5, 2.0, -3.0, np.nan], [0.1, 0.2, 0.3, 0.4, 0.5]], np.float32)
    output = export([{"audio": Sound(samples, 16_000), "sampling_rate": 16_000}])
    (artifact,) = output.artifacts
    assert output.value[0]["audio"] == {
        "artifact": artifact.uri,
        "mime_type": "audio/wav",
        "channels": 2,
        "seconds": 0.0,
    }
    heard, rate = soundfile.read(io.BytesIO(artifact.data), dtype="float32")
    assert rate == 16_000
    # What is too loud is clipped, not wrapped around.
    wanted = [[0.0, 0.5, 1.0, -1.0, 0.0], [0.1, 0.2, 0.3, 0.4, 0.5]]
    assert np.allclose(heard.T, wanted, atol=1e-4)


def test_images_and_masks_become_png_files() -> None:
    picture = Image.new("RGB", (3, 2), (1, 2, 3))
    mask = torch.tensor([[True, False, False], [False, False, True]])
    output = export({"picture": picture, "masks": [mask, mask.numpy()]})
    assert [each.mime_type for each in output.artifacts] == ["image/png"] * 3
    assert output.value["picture"] == {
        "artifact": output.artifacts[0].uri,
        "mime_type": "image/png",
        "size": [3, 2],
        "mode": "RGB",
    }
    assert [each["mode"] for each in output.value["masks"]] == ["1", "1"]
    first, *others = (Image.open(io.BytesIO(each.data)) for each in output.artifacts)
    assert np.array_equal(np.asarray(first), np.asarray(picture))
    for other in others:
        assert np.array_equal(np.asarray(other), mask.numpy())
