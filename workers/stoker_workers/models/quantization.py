"""Weights that are made smaller while they are loaded, by torchao or bitsandbytes."""

from importlib.util import find_spec
from typing import Any

import transformers

from stoker_tasks.errors import ModelLoadFailed
from stoker_tasks.parts import install_words

# Not tuned: what their makers take by default.


def quantization_config(name: str) -> Any:
    """Make the configuration that transformers loads a model with.

    Args:
        name: `torchao-int8` (weights only), `bitsandbytes-8bit` or `bitsandbytes-4bit`.

    Raises:
        ModelLoadFailed: The package that does it is not installed.
    """
    package, _, bits = name.partition("-")
    needs = (package, "accelerate") if package == "bitsandbytes" else (package,)
    missing = [each for each in needs if find_spec(each) is None]
    if missing:
        raise ModelLoadFailed(f"quantization {name} {install_words(missing)}")
    if package == "bitsandbytes":
        return transformers.BitsAndBytesConfig(
            load_in_8bit=bits == "8bit", load_in_4bit=bits == "4bit"
        )
    from torchao.quantization import Int8WeightOnlyConfig

    return transformers.TorchAoConfig(Int8WeightOnlyConfig())
