"""The optional parts of a worker: what each package opens, and how it is installed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Part:
    """One package that a worker can do without.

    Attributes:
        install: What `pip install` is given.
        opens: What it is for, in words.
    """

    install: str
    opens: str


# By the module that is imported. What a task cannot do without stands in its spec.
PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        "torchvision": Part(
            install="torchvision",
            opens="mask-generation; image-segmentation by OneFormer; models whose processor takes "
            "video (Qwen-VL, SmolVLM); timm",
        ),
        "torchaudio": Part(install="torchaudio", opens="a few audio models' feature extractors"),
        "av": Part(install="av", opens="video, and compressed sound (mp3, m4a, webm)"),
        "soundfile": Part(install="soundfile", opens="sound files (wav, flac, ogg)"),
        "scipy": Part(install="scipy", opens="sound of any rate; segmentation by MaskFormer"),
        "PIL": Part(install="Pillow", opens="all tasks that look at images"),
        "pandas": Part(install="pandas", opens="table-question-answering"),
        "sentencepiece": Part(
            install="sentencepiece", opens="tokenizers of Marian (translation), SpeechT5 and others"
        ),
        "timm": Part(install="timm", opens="image models of timm (needs torchvision)"),
        "pytesseract": Part(
            install="pytesseract",
            opens="document-question-answering without given words (needs the program tesseract)",
        ),
        "peft": Part(install="peft", opens="components.adapter: LoRA and other PEFT adapters"),
        "torchao": Part(install="torchao", opens='loading.quantization = "torchao-int8"'),
        "bitsandbytes": Part(
            install="bitsandbytes", opens='loading.quantization = "bitsandbytes-8bit", "…-4bit"'
        ),
        "gguf": Part(install="gguf", opens="loading.gguf_file: models in GGUF files"),
        "accelerate": Part(
            install="accelerate", opens="loading.device_map; bitsandbytes and GGUF files"
        ),
    }
)


def install_words(modules: Iterable[str]) -> str:
    """Say what has to be installed for something that needs these modules."""
    modules = list(modules)
    packages = [PARTS[module].install if module in PARTS else module for module in modules]
    return f"needs {', '.join(modules)}, which is not installed: pip install {' '.join(packages)}"
