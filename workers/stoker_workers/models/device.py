"""Which device a worker owns, how much it computes at once, and in which number format."""

import gc
import os
from dataclasses import dataclass
from typing import Final

import torch

# Padded tokens of one forward pass to begin with, until a probe knows better. More is not better on
# a CPU: what leaves its caches costs more than it gains.
BATCH_TOKENS: Final = {"cpu": 1024, "cuda": 16384, "mps": 4096}

# So many padded tokens take about as long as starting another forward pass does: on a CPU a pass
# starts in the time of a few tokens, a GPU is idle for thousands of them.
OVERHEAD_TOKENS: Final = {"cpu": 16, "cuda": 2048, "mps": 512}


@dataclass(frozen=True, slots=True)
class Device:
    """A device that one worker process owns.

    Attributes:
        name: As torch spells it: `cpu`, `cuda:0`, `mps`.
        kind: `cpu`, `cuda` or `mps`.
        batch_tokens: Padded tokens that one forward pass may hold to begin with.
        overhead_tokens: Padding up to so many tokens is cheaper than another forward pass.
        dtype: The number format of loaded models: `float32`, or `auto` for the format in which
            they were saved.
    """

    name: str
    kind: str
    batch_tokens: int
    overhead_tokens: int
    dtype: str

    @property
    def torch(self) -> torch.device:
        """The device as torch takes it."""
        return torch.device(self.name)

    @property
    def description(self) -> str:
        """What decides how fast the device is, in words: what it is, and what drives it."""
        what = f"{os.cpu_count()} CPUs with {torch.get_num_threads()} threads"
        if self.kind == "cuda":
            what = torch.cuda.get_device_name(self.torch)
        return f"{self.name} ({what}, {self.dtype}, torch {torch.__version__})"

    def memory(self) -> tuple[int, int]:
        """Give the free and the total memory in bytes.

        On a CPU and on MPS, which shares it, this is the machine's memory.
        """
        if self.kind == "cuda":
            free, total = torch.cuda.mem_get_info(self.torch)
            return int(free), int(total)
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES")
        # macOS does not say how much is free.
        free = (
            page * os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else total
        )
        return free, total

    def free_memory(self) -> int | None:
        """Give the bytes that models may still take on a GPU; None where that is not known.

        What the allocator holds and nobody uses is free to this process.
        """
        if self.kind != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.torch)
        held = torch.cuda.memory_reserved(self.torch) - torch.cuda.memory_allocated(self.torch)
        return int(free) + held

    def allocated(self) -> int:
        """Give the bytes that tensors take on a GPU now; 0 where nobody counts them."""
        return torch.cuda.memory_allocated(self.torch) if self.kind == "cuda" else 0

    def check(self) -> None:
        """Wait for a GPU to do what it was told; one that is lost to this process raises here.

        Raises:
            RuntimeError: It is lost.
        """
        if self.kind == "cuda":
            torch.cuda.synchronize(self.torch)

    def release_memory(self) -> None:
        """Give back the memory of what is no longer used. Call it outside of `except` blocks.

        A caught error's traceback still holds the tensors of the pass that failed.
        """
        gc.collect()
        if self.kind == "cuda":
            torch.cuda.empty_cache()
        elif self.kind == "mps":
            torch.mps.empty_cache()


def find_device(wanted: str = "auto") -> Device:
    """Find the device of a worker.

    Args:
        wanted: `auto` for the best there is, `cpu`, `cuda` (the first), `cuda:N` or `mps`.

    Returns:
        The device.

    Raises:
        ValueError: The device does not exist here; the message says which do.
    """
    here = available()
    if wanted == "auto":
        return _device(here[-1] if here[-1] == "mps" else next(iter(here[1:]), "cpu"))
    name = "cuda:0" if wanted == "cuda" else wanted
    if name not in here:
        raise ValueError(
            f"there is no device {wanted[:64]!r} here; there is: auto, {', '.join(here)}"
        )
    return _device(name)


def available() -> list[str]:
    """List the devices of this machine, the CPU first."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _device(name: str) -> Device:
    kind = name.partition(":")[0]
    # A CPU computes half-precision formats more slowly than float32, and less exactly.
    dtype = "float32" if kind == "cpu" else "auto"
    return Device(name, kind, BATCH_TOKENS[kind], OVERHEAD_TOKENS[kind], dtype)
