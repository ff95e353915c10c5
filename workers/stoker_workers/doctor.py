"""What this machine gives a worker, as JSON: `python -m stoker_workers doctor` and `… parts`."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def facts() -> dict[str, Any]:
    """Tell the versions of the model libraries and the devices, with their memory in bytes."""
    import torch

    from stoker_workers.models.device import available, find_device

    devices = []
    for name in available():
        free, total = find_device(name).memory()
        devices.append({"name": name, "model": _model_of(name), "free": free, "total": total})
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": _version("transformers"),
        "threads": torch.get_num_threads(),
        "devices": devices,
    }


def try_parts(modules: Iterable[str]) -> Iterator[dict[str, str | None]]:
    """Import modules one after another, and say of each at once why that failed, if it did."""
    for module in modules:
        error = None
        try:
            import_module(module)
        # A package that does not fit its neighbours fails in any way it likes.
        except BaseException as raised:  # noqa: BLE001
            error = f"{type(raised).__name__}: {' '.join(str(raised).split())}"
        yield {"module": module, "error": error}


def _model_of(device: str) -> str | None:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
