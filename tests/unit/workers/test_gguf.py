from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from stoker_tasks.errors import ModelLoadFailed
from stoker_workers.models.gguf import convert
from tests.tiny.fixture import TinyModel


@pytest.fixture
def reader(tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the reading of GGUF, which takes a package of its own."""
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny("llama_chat"))
    # So that it cannot be saved, as what comes from GGUF.
    model.config.quantization_config = {"quant_method": "gguf"}
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny("llama_chat"))
    for auto, part in (("AutoModelForCausalLM", model), ("AutoTokenizer", tokenizer)):
        real = getattr(transformers, auto).from_pretrained

        def read(where: Any, real: Any = real, part: Any = part, **settings: Any) -> Any:
            return part if "gguf_file" in settings else real(where, **settings)

        monkeypatch.setattr(getattr(transformers, auto), "from_pretrained", read)


@pytest.mark.usefixtures("reader")
def test_what_is_made_loads_like_any_other(tmp_path: Path) -> None:
    folder = convert(tmp_path / "model.gguf", tmp_path / "made" / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert not hasattr(model.config, "quantization_config")
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert "<|im_start|>user\nhi" in chat
    assert [each.name for each in folder.parent.iterdir()] == ["model"]


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    assert convert(tmp_path / "no.gguf", tmp_path) == tmp_path


def test_a_broken_file_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelLoadFailed, match=r"broken\.gguf cannot be read"):
        convert(file, tmp_path / "made")
    assert [each.name for each in tmp_path.iterdir()] == ["broken.gguf"]
