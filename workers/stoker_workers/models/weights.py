"""How much memory a model takes: by its files before it is loaded, by its tensors afterwards."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch

from stoker_config.models_file import Loading
from stoker_workers.models.device import Device

# Bytes of a number in the formats of safetensors files (their README lists them).
_BYTES: Final = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2}
_FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})
_LOADED: Final = {"float32": 4, "float16": 2, "bfloat16": 2}
# Bytes of a quantised number; what stays in its own format comes on top, and is little.
_QUANTISED: Final = {"torchao-int8": 1.0, "bitsandbytes-8bit": 1.0, "bitsandbytes-4bit": 0.5}
# No header is larger; more is a broken file.
_MAX_HEADER: Final = 100_000_000


def expected_memory(folder: Path, loading: Loading, device: Device) -> int:
    """Give the bytes that a model's weights will take on its device, about.

    Args:
        folder: Its files.
        loading: How it is loaded.
        device: Where to.
    """
    files = [*folder.glob("*.safetensors")]
    if not files:
        # A pickle says nothing of what is in it without being read.
        return sum(file.stat().st_size for file in folder.glob("*.bin"))
    dtype = loading.dtype or device.dtype
    size = 0.0
    for format_, count in (each for file in files for each in _tensors(file)):
        width: float = _BYTES.get(format_, 1)
        if format_ in _FLOATS:
            width = _QUANTISED.get(loading.quantization or "", _LOADED.get(dtype, width))
        size += count * width
    return int(size)


def taken_memory(*modules: Any) -> int:
    """Give the bytes that the parameters and buffers of loaded models take, each storage once.

    Args:
        *modules: The models; None counts for nothing.
    """
    sizes: dict[int, int] = {}
    for module in modules:
        if isinstance(module, torch.nn.Module):
            for tensor in (*module.parameters(), *module.buffers()):
                for part in _plain(tensor):
                    storage = part.untyped_storage()
                    sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def _plain(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """List the tensors of which a quantised one is made; a plain one is itself."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield tensor.data
        return
    for name in flatten()[0]:
        yield from _plain(getattr(tensor, name))


def _tensors(file: Path) -> Iterator[tuple[str, int]]:
    """List a file's tensors: each one's number format, and how many numbers it has.

    A safetensors file begins with the length of its header, 8 bytes in little-endian order, and
    the header, which is JSON.
    """
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        try:
            header: dict[str, Any] = json.loads(opened.read(length if length < _MAX_HEADER else 0))
        except ValueError:
            return  # loading it will say what is wrong
    for name, tensor in header.items():
        if name != "__metadata__":
            yield tensor["dtype"], math.prod(tensor["shape"])
