"""What is no English Whisper model is told apart; the real one is in `test_real_models.py`."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stoker_tasks.errors import ModelLoadFailed
from stoker_workers.models.ctranslate2 import convert, read_weights

FLOAT16, INT8 = 4, 1
WEIGHT = np.arange(6, dtype="<f2").reshape(2, 3)


def text(value: str) -> bytes:
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def tensor(name: str, shape: Sequence[int], kind: int, data: bytes) -> bytes:
    dimensions = struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<BI", kind, len(data)) + data


def model(
    version: int = 6, spec: str = "WhisperSpec", kind: int = FLOAT16, data: bytes | None = None
) -> bytes:
    """Write what CTranslate2 writes: a tensor, a number of its settings, and an alias."""
    tensors = [
        tensor("encoder/weight", (2, 3), kind, WEIGHT.tobytes() if data is None else data),
        tensor("num_heads", (), INT8, b"\6"),
    ]
    aliases = struct.pack("<I", 1) + text("decoder/weight") + text("encoder/weight")
    head = struct.pack("<I", version) + text(spec) + struct.pack("<II", 3, len(tensors))
    return head + b"".join(tensors) + aliases


def test_tensors_are_read_by_name() -> None:
    weights = read_weights(model())

    assert list(weights) == ["encoder/weight", "decoder/weight"]
    for each in weights.values():
        assert np.array_equal(each, WEIGHT)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (model(version=5), "version 5"),
        (model(spec="TransformerSpec"), "TransformerSpec, and only Whisper"),
        (model(kind=INT8), "quantised"),
    ],
)
def test_what_is_read_elsewhere_is_told(data: bytes, said: str) -> None:
    with pytest.raises(ModelLoadFailed, match=said):
        read_weights(data)


@pytest.mark.parametrize("data", [b"", model()[:40], model(data=b"\0" * 10), b"PK\3\4" * 99])
def test_a_broken_file_leaves_nothing(data: bytes, tmp_path: Path) -> None:
    source = tmp_path / "whisper"
    source.mkdir()
    (source / "model.bin").write_bytes(data)
    for name in ("config.json", "tokenizer.json"):
        (source / name).write_text(json.dumps({}))

    with pytest.raises(ModelLoadFailed):
        convert(source, tmp_path / "made")

    assert [each.name for each in tmp_path.iterdir()] == ["whisper"]


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    assert convert(tmp_path / "nothing", tmp_path) == tmp_path
