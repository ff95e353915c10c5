"""Which optional parts of Stoker are installed, found without importing them."""

from importlib.util import find_spec
from typing import Final

from stoker.local.errors import MissingExtra

# One module that only the extra brings.
_SIGNS: Final = {
    "worker": ("torch", "transformers"),
    "courier": ("httpx2",),
    "monitor": ("flower",),
    "s3": ("boto3",),
    "demo": ("gguf", "accelerate", "moto", "flask"),
}


def require(*extras: str) -> None:
    """Make sure that extras are installed.

    Args:
        *extras: Their names in the package's metadata: `worker`, `courier`, `monitor`, `demo`.

    Raises:
        MissingExtra: One is not; the message has the command that installs them.
    """
    missing = [
        extra for extra in extras if any(find_spec(module) is None for module in _SIGNS[extra])
    ]
    if missing:
        raise MissingExtra(
            f"this needs parts of Stoker that are not installed: "
            f"`pip install 'stoker[{','.join(missing)}]'`"
        )
