"""Any output of a pipeline becomes JSON; large arrays, images and sounds go beside it."""

import io
import math
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import numpy as np
import torch
from PIL import Image

from stoker_workers.engine.model import ArtifactData, Output

NPY: Final = "application/x-npy"
PNG: Final = "image/png"
WAV: Final = "audio/wav"

# Numbers: as JSON this many floats take about 160 KiB.
MAX_INLINE_NUMBERS: Final = 8192


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound in an output.

    Attributes:
        samples: Numbers from -1 to 1, by channel if there are several.
        rate: Samples a second.
    """

    samples: np.ndarray[Any, Any]
    rate: int


def export(value: Any) -> Output:
    """Make an output JSON-safe.

    A sound becomes an artifact: a WAV file of 16-bit samples, what is too loud being clipped.
    Tensors and arrays become nested lists, or, with more than `MAX_INLINE_NUMBERS` floating-point
    numbers, an artifact in the NPY format with a reference in place. Images, and masks (two axes
    of booleans), become artifacts in the PNG format. NaN and infinity, which JSON lacks, become
    null.

    Args:
        value: Nested dicts, lists and tuples of JSON values, tensors, numpy arrays, images and
            sounds.

    Returns:
        The JSON-safe output and its artifacts.
    """
    artifacts: list[ArtifactData] = []
    return Output(_safe(value, artifacts), tuple(artifacts))


def _safe(value: Any, artifacts: list[ArtifactData]) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, torch.Tensor):
        # numpy knows no bfloat16.
        half = value.is_floating_point() and value.dtype != torch.float64
        value = (value.float() if half else value).detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return _array(value, artifacts)
    if isinstance(value, Image.Image):
        return _image(value, artifacts)
    if isinstance(value, np.generic):
        return _safe(value.item(), artifacts)
    if isinstance(value, Sound):
        return _sound(value, artifacts)
    if isinstance(value, Mapping):
        return {str(name): _safe(one, artifacts) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_safe(one, artifacts) for one in value]
    raise TypeError(f"a pipeline gave a {type(value).__name__}, which has no form in JSON")


def _array(array: np.ndarray[Any, Any], artifacts: list[ArtifactData]) -> Any:
    floating = np.issubdtype(array.dtype, np.floating)
    if floating and array.size > MAX_INLINE_NUMBERS:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        stored = _stored(NPY, buffer, artifacts)
        return {**stored, "shape": list(array.shape), "dtype": str(array.dtype)}
    if array.dtype == np.bool_ and array.ndim == 2:
        return _image(Image.fromarray(array), artifacts)
    if floating and not np.isfinite(array).all():
        return _safe(array.tolist(), artifacts)
    return array.tolist()


def _sound(sound: Sound, artifacts: list[ArtifactData]) -> dict[str, Any]:
    channels = np.atleast_2d(np.nan_to_num(sound.samples))
    samples = np.rint(channels.clip(-1, 1) * 32767).astype("<i2").T
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes(samples.tobytes())
    seconds = round(len(samples) / sound.rate, 3)
    return {
        **_stored(WAV, buffer, artifacts),
        "channels": samples.shape[1],
        "seconds": seconds,
    }


def _image(image: Image.Image, artifacts: list[ArtifactData]) -> dict[str, Any]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {**_stored(PNG, buffer, artifacts), "size": list(image.size), "mode": image.mode}


def _stored(mime_type: str, buffer: io.BytesIO, artifacts: list[ArtifactData]) -> dict[str, Any]:
    artifact = ArtifactData(f"artifact:{uuid4().hex}", mime_type, buffer.getvalue())
    artifacts.append(artifact)
    return {"artifact": artifact.uri, "mime_type": mime_type}
