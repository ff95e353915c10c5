"""torchvision for tests: in child processes that need it, beside the environment of all others.

PyPI's build of it is for CUDA, and what is compiled of it does not load beside a torch for the CPU.
Of that the tests need one operation, which this plugin for pytest then defines in Python, as does
the worker of `tests.doubles.torchvision_app`.
"""

import sys
from typing import Any, Final

import torch

from stoker.local.packages import Package

# The release that goes with the torch of constraints.txt. The file is the same in all its builds.
PACKAGE: Final = Package(
    name="torchvision",
    version="0.28.0",
    file="torchvision/ops/boxes.py",
    sha256="69dbb63d76d724015a3889d709396f2f0369b4fe1bc72272a971d4cc9f9ffb2d",
)


def pytest_configure() -> None:
    """Have it in a child process that runs tests."""
    make_importable()


def make_importable() -> None:
    """Make sure that torchvision can be imported, before transformers tries."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _define_operations()


def _define_operations() -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    # Kept for as long as the process lives: with the library its operations go.
    make: Any = torch.library.Library
    library = make("torchvision", "DEF")
    _LIBRARIES.append(library)
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    import torchvision.extension

    # Asked by `ops.nms`; whatever else is compiled stays missing.
    torchvision.extension._has_ops = lambda: True


_LIBRARIES: list[Any] = []


def _nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Keep the best boxes, and of those that overlap the best one (non-maximum suppression)."""
    order = scores.argsort(descending=True, stable=True)
    left, top, right, bottom = dets.float().unbind(1)
    area = (right - left) * (bottom - top)
    keep = []
    while order.numel():
        best, rest = order[0], order[1:]
        keep.append(best)
        wide = torch.minimum(right[best], right[rest]) - torch.maximum(left[best], left[rest])
        high = torch.minimum(bottom[best], bottom[rest]) - torch.maximum(top[best], top[rest])
        shared = wide.clamp(min=0) * high.clamp(min=0)
        order = rest[shared / (area[best] + area[rest] - shared) <= iou_threshold]
    return torch.stack(keep) if keep else torch.empty(0, dtype=torch.long)
