"""Compares images: those of an output with those of a pipeline."""

from typing import Any

import numpy as np
import torch
from PIL import Image


def alike(one: Image.Image, other: Any) -> bool:
    """Tell whether an output's image is another image or a mask.

    A grey or a colour may be off by one of 255: a rounding apart.
    """
    if isinstance(other, torch.Tensor):
        return one.mode == "1" and bool(np.array_equal(np.asarray(one), other.numpy()))
    if not isinstance(other, Image.Image) or (one.mode, one.size) != (other.mode, other.size):
        return False
    far = np.asarray(one).astype(int) - np.asarray(other).astype(int)
    return bool(np.abs(far).max() <= 1)
