"""A GGUF file becomes a folder that loads like any other model, converted once."""

from pathlib import Path

import torch
import transformers
from transformers.utils import logging as transformers_logging

from stoker_tasks.errors import ModelLoadFailed
from stoker_workers.models.converted import make_folder


def convert(gguf_path: Path, out_dir: Path) -> Path:
    """Convert a GGUF file of a text-generating model to safetensors, tokenizer and chat template.

    The weights are expanded to float32: a quantised file grows by about a factor of eight.

    Args:
        gguf_path: The file.
        out_dir: The folder to make. It appears whole or not at all; if it is there already,
            nothing is done.

    Returns:
        `out_dir`.

    Raises:
        ModelLoadFailed: The file cannot be read, or holds no such model.
    """
    return make_folder(out_dir, lambda folder: _convert(gguf_path, folder))


def _convert(gguf_path: Path, folder: Path) -> None:
    transformers_logging.disable_progress_bar()
    where, name = str(gguf_path.parent), gguf_path.name
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, gguf_file=name)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            where, gguf_file=name, dtype=torch.float32
        )
    except ImportError as error:
        raise ModelLoadFailed(
            f"{name} cannot be read without the package gguf: pip install gguf"
        ) from error
    # A broken file fails wherever its bytes stop making sense.
    except Exception as error:
        raise ModelLoadFailed(f"{name} cannot be read: {type(error).__name__}: {error}") from error
    # What was loaded from GGUF counts as quantised, and refuses to be saved.
    config = model.config
    for leftover in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, leftover):
            delattr(config, leftover)
    plain = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
